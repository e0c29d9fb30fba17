"""The room of DARL: start at method.py."""
