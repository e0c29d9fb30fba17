"""The room of D3PM on pictures: start at method.py."""
