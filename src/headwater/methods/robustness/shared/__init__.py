"""What defences share."""
