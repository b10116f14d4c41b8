"""Masks, one a file: which keys a query may attend to."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
