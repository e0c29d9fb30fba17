"""The room of DDPM-CD: start at method.py."""
