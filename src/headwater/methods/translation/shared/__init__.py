"""What methods of translation share."""
