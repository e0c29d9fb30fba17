"""The room of ILVR: start at method.py."""
