"""Programs that get a copy of a run's metrics, one a file."""

from attnkit import lazy

__getattr__, __dir__ = lazy.catalogue(__name__)
