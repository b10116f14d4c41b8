"""What to learn: one task a file, numpy only."""
