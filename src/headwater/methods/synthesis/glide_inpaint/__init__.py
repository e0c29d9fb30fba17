"""The room of GLIDE's inpainting: start at method.py."""
