"""Measures: image, segmentation, detection, Frechet, statistics, and an evaluator trained here."""
