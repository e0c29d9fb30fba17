"""What methods of segmentation share."""
