"""The room of DiffPure: start at method.py."""
