"""The room of DiffuseRecon: start at method.py."""
