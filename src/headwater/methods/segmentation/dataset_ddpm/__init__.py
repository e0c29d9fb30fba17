"""The room of DatasetDDPM: start at method.py."""
