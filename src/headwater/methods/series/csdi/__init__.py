"""The room of CSDI: start at method.py."""
