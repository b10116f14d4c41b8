"""Mixers that are layers of their own, one a file; the file's name is the kind."""
