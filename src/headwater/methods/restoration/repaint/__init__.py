"""The room of RePaint: start at method.py."""
