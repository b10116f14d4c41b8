"""attnkit: write an attention idea once, as a small pure function, and get the rest for nothing."""

__version__ = "0.1.0"
