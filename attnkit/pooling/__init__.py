"""Many vectors to one, or to a few: one pool a file."""
