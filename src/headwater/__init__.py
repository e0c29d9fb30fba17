"""Headwater: one diffusion prior, every downstream task."""
