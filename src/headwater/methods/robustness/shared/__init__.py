"""What methods of purification share."""
