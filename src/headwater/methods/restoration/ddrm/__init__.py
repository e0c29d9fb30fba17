"""The room of DDRM: start at method.py."""
