"""Scores, one a file: similarity of a query and a key."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
