"""Normalizers, one a file: from scores to weights."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
