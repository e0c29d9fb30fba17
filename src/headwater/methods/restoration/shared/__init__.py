"""What methods of restoration share."""
