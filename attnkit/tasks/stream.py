"""A stream of random numbers for one batch, fixed by a key of integers."""

import numpy as np

WORD = 32


class Stream:
    """Random arrays drawn one after the other from the words of one key.

    Two streams of equal keys give the same arrays when they are asked for the same shapes in the same order.
    Only the raw words of a bit generator are used, which numpy promises never to change (see `draws.py`).

    >>> Stream(7, 1).below(10, 2, 3).tolist() == Stream(7, 1).below(10, 2, 3).tolist()
    True
    >>> Stream(7, 1).below(10, 6).tolist() == Stream(7, 2).below(10, 6).tolist()
    False

    With `rows`, it draws those rows alone of what the stream draws for `size` examples; the examples lie
    along the first axis, or the one given as `axis`.

    >>> Stream(7, 1, size=6, rows=slice(2, 4)).below(10, 2, 3) == Stream(7, 1).below(10, 6, 3)[2:4]
    array([[ True,  True,  True],
           [ True,  True,  True]])
    """

    def __init__(self, *key: int, size: int = 1, rows: slice = slice(None)) -> None:
        self._size, self._rows, self._count = size, rows, len(range(size)[rows])
        # A fixed number of words each: numpy would make one stream of the keys (0, 1) and (2**32, ).
        halves = [half for part in key for half in (part % 2**WORD, part >> WORD)]
        self._source = np.random.Philox(np.random.SeedSequence([len(halves), *halves]))

    def words(self, *shape: int, axis: int = 0) -> np.ndarray:
        """`shape` uint64, every word equally likely."""
        if self._count == self._size:
            return self._source.random_raw(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        each, rest = divmod(shape[axis], self._count)
        if rest:
            raise ValueError(f"shape = {shape}: axis {axis} does not hold {self._count} examples")
        whole = (*shape[:axis], self._size, each, *shape[axis + 1 :])
        words = self._source.random_raw(int(np.prod(whole, dtype=np.int64))).reshape(whole)
        return words[(*[slice(None)] * axis, self._rows)].reshape(shape)

    def below(self, limit: int | np.ndarray, *shape: int, axis: int = 0) -> np.ndarray:
        """`shape` int64 from 0 .. limit - 1, with replacement; `limit` may be an array that broadcasts."""
        return (self.words(*shape, axis=axis) % np.asarray(limit, np.uint64)).astype(np.int64)

    def between(self, low: int, high: int, *shape: int, axis: int = 0) -> np.ndarray:
        """`shape` int64 from low .. high, both included."""
        return low + self.below(high - low + 1, *shape, axis=axis)

    def uniform(self, *shape: int, axis: int = 0) -> np.ndarray:
        """`shape` float64, evenly spread over [0, 1)."""
        return (self.words(*shape, axis=axis) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, *shape: int) -> np.ndarray:
        """`shape` float64 of the standard normal distribution (G. E. P. Box and M. E. Muller, 1958).

        The last digit may depend on the machine's logarithm and cosine.
        """
        radius = np.sqrt(-2 * np.log1p(-self.uniform(*shape)))
        return radius * np.cos(2 * np.pi * self.uniform(*shape))

    def orders(self, rows: int, count: int) -> np.ndarray:
        """`[rows, count]` int64: in each row 0 .. count - 1 in random order."""
        return np.argsort(self.words(rows, count), axis=1, kind="stable")

    def categories(self, shares: np.ndarray, *shape: int) -> np.ndarray:
        """`shape` int64, class `c` with probability `shares[c]`; or with `shares [..., classes]` a table of
        distributions whose leading axes broadcast with `shape`."""
        edges = np.cumsum(shares, axis=-1)[..., :-1]
        return (self.uniform(*shape)[..., None] >= edges).sum(axis=-1)
