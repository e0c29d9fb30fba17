"""The room of SegDiff: start at method.py."""
