"""Medical images from measurements."""
