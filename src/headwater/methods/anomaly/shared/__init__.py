"""What methods of anomaly detection share."""
