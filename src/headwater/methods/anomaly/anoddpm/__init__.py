"""The room of AnoDDPM: start at method.py."""
