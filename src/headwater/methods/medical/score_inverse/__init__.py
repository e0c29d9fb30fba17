"""The room of score-based inverse problems in medical imaging: start at method.py."""
