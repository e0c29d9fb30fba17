"""The room of Blended Diffusion: start at method.py."""
