"""The room of GLIDE: start at method.py."""
