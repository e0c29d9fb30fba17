"""The room of CLIP-Diffusion-LM: start at method.py."""
