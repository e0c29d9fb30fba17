"""The room of DiffuSeq: start at method.py."""
