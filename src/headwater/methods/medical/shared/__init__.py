"""What methods of medical imaging share."""
