"""The room of DDPM-Seg: start at method.py."""
