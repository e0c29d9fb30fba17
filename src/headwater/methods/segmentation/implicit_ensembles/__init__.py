"""The room of Implicit ensembles: start at method.py."""
