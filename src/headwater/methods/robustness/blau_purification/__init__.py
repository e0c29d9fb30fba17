"""The room of Blau et al.: start at method.py."""
