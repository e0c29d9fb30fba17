"""What methods have to beat."""
