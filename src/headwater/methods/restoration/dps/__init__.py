"""The room of DPS: start at method.py."""
