"""What was sent, what was received, and the comparison of the two."""
