"""Restoration: inpainting, super-resolution, inverse problems."""
