"""What `headwater bench` measures: our way against the usual one, as ratios."""
