"""Tasks, one a file, numpy only."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
