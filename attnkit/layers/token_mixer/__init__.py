"""Token mixers that are layers of their own, one a file; the file's name is the kind."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
