"""The room of SDEdit: start at method.py."""
