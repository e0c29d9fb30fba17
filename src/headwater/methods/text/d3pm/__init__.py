"""The room of D3PM: start at method.py."""
