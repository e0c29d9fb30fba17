"""What methods of reconstruction share."""
