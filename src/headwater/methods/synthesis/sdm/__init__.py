"""The room of SDM: start at method.py."""
