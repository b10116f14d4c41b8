"""Decoding: greedy search, sampling and beam search over any model that has `step`."""
