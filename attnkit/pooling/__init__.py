"""Pools, one a file: many vectors to one, or to a few."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
