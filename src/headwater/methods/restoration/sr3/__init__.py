"""The room of SR3: start at method.py."""
