"""The room of EGSDE: start at method.py."""
