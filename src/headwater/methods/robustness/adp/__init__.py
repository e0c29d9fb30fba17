"""The room of ADP: start at method.py."""
