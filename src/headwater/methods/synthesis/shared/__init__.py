"""What methods of synthesis share."""
