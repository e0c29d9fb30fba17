"""Segmentation and change detection."""
