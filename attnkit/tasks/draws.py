"""Randomness of data: pure functions of integers, the same with every version of numpy.

Only the raw 64-bit stream of a bit generator is used, because numpy promises never to change it; the
methods of `numpy.random.Generator` carry no such promise.
"""

import functools

import numpy as np


def raw(count: int, *key: int) -> np.ndarray:
    """`[count]` uint64 random words, a pure function of the non-negative integers `key`."""
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(count)


def below(limit: int, count: int, *key: int) -> np.ndarray:
    """`[count]` int64 draws with replacement from 0 .. limit - 1, for a limit far below 2**64."""
    return (raw(count, *key) % np.uint64(limit)).astype(np.int64)


def permutation(count: int, *key: int) -> np.ndarray:
    """`[count]` int64: 0 .. count - 1 in random order."""
    return np.argsort(raw(count, *key), kind="stable")


@functools.lru_cache(maxsize=4)
def epoch(count: int, seed: int, number: int) -> np.ndarray:
    """The order of epoch `number`, kept so that the steps of one epoch do not draw it again. Read-only."""
    order = permutation(count, seed, number)
    order.flags.writeable = False
    return order


def epoch_rows(count: int, seed: int, step: int, size: int) -> np.ndarray:
    """`[size]` int64: which of `count` examples are in training batch `step`.

    The batches are consecutive pieces of an endless sequence of epochs, each a fresh permutation, so every
    example comes exactly once in each epoch. A batch that reaches the end of an epoch goes on into the next
    one: all batches are full, and `count` may be smaller than `size`.

    >>> rows = [epoch_rows(5, seed=0, step=step, size=2) for step in range(5)]
    >>> stream = np.concatenate(rows)
    >>> sorted(stream[:5].tolist()), sorted(stream[5:].tolist())
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])

    Raises:
        ValueError: if there are no examples, or `step` is negative.
    """
    if count < 1 or size < 1 or step < 0:
        raise ValueError(
            f"count = {count}, size = {size}, step = {step}: need count, size >= 1 and step >= 0"
        )
    first = step * size
    pieces: list[np.ndarray] = []
    while (missing := size - sum(len(piece) for piece in pieces)) > 0:
        number, start = divmod(first + size - missing, count)
        pieces.append(epoch(count, seed, number)[start : start + missing])
    return np.concatenate(pieces)
