"""The room of Palette: start at method.py."""
