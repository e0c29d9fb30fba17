"""The room of GDMP: start at method.py."""
