"""Buckets of distances: exact for near ones, logarithmic for far ones."""

import bisect

import numpy as np


def buckets(distance: np.ndarray, count: int, max_distance: int) -> np.ndarray:
    """The bucket, 0 to `count - 1`, of non-negative distances.

    Distances below `e = count // 2` have a bucket each. Of the others, `n` is in bucket
    `e + floor((count - e) * log(n / e) / log(max_distance / e))`, at most `count - 1`. Edges are found with
    whole numbers, so that no rounded logarithm puts a distance at an edge into the bucket below.

    Args:
        distance: non-negative integers.
        count: number of buckets, at least 2.
        max_distance: distance from which on all are in the last bucket, greater than `count // 2`.

    Raises:
        ValueError: if `max_distance` is too small for `count`.

    Source: Raffel et al. 2020 (T5), arXiv 1910.10683, and the authors' code.

    >>> buckets(np.array([0, 1, 2, 3, 4, 7, 8, 15, 16, 99]), 4, 16).tolist()
    [0, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    """
    exact = count // 2
    if max_distance <= exact:
        raise ValueError(
            f"max_distance = {max_distance} must be greater than {exact}, half the number of buckets"
        )
    logarithmic = count - exact

    def edge(step: int) -> int:
        # n^l e^s is at least e^l r^s exactly where l log(n / e) / log(r / e) is at least s.
        least = exact**logarithmic * max_distance**step
        return bisect.bisect_left(range(max_distance), least, key=lambda n: n**logarithmic * exact**step)

    edges = [edge(step) for step in range(1, logarithmic)]
    return np.where(distance < exact, distance, exact + np.searchsorted(edges, distance, side="right"))


def signed_buckets(distance: np.ndarray, count: int, max_distance: int) -> np.ndarray:
    """The bucket of distances `j - i` of either sign: keys before or at the query in the first half of the
    buckets, keys after it in the second half.

    >>> signed_buckets(np.array([-2, -1, 0, 1, 2]), 8, 16).tolist()
    [2, 1, 0, 5, 6]
    """
    half = count // 2
    return buckets(np.abs(distance), half, max_distance) + half * (distance > 0)
