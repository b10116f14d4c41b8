"""Whole networks, one a file."""
