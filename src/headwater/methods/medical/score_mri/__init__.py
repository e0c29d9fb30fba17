"""The room of Score-MRI: start at method.py."""
