"""Methods that write text."""
