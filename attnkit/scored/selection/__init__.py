"""Selections, one a file: which keys are kept by their content."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
