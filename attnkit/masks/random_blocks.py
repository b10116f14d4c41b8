"""A few random blocks of keys for every block of queries."""

import functools
import operator
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.masks.counters import random_bits
from attnkit.option_class import options


@options
class RandomBlocks(Mask):
    """Every block of `size` queries sees `count` random blocks of `size` keys.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(RandomBlocks(size=2, count=1, length=8, seed=3), 8))
    . . . . # # . .
    . . . . # # . .
    . . . . . . # #
    . . . . . . # #
    . . # # . . . .
    . . # # . . . .
    . . . . # # . .
    . . . . # # . .

    The n-th block of keys is drawn uniformly from the n-th of `count` equal parts of the first `length`
    positions, so all are different (as long as there are `count` blocks). It is a pure function of (seed,
    block of queries, n): no table is kept, and all forms and heads agree. The cover is exact.

    Source: Zaheer et al. 2020 (BigBird), arXiv 2007.14062, section 2, random attention by blocks.

    Attributes:
        size: positions in a block.
        count: blocks of keys that a block of queries sees.
        length: the keys that are drawn from, counted from position 0.
        seed: which draw.
    """

    checked_with: ClassVar[dict[str, Any]] = {"size": 3, "count": 2, "length": 47}
    size: Annotated[int, Ge(1)] = 64
    count: Annotated[int, Ge(0)] = 3
    length: Annotated[int, Ge(1)] = 4096
    seed: Annotated[int, Ge(0)] = 0

    def _drawn(self, blocks: Any, n: int) -> Any:
        """The `n`-th block of keys that `blocks` of queries see."""
        available = -(-self.length // self.size)
        low, high = (available * end // self.count for end in (n, n + 1))
        bits = random_bits(self.seed, blocks, np.asarray(n))
        return low + (bits % np.uint32(max(high - low, 1))).astype(blocks.dtype)

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        queries, keys = i // self.size, j // self.size
        hits = (keys == self._drawn(queries, n) for n in range(self.count))
        return functools.reduce(operator.or_, hits, (keys != keys) & (queries != queries))

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        queries, keys = (
            Interval(*map(np.asarray, np.broadcast_arrays(*interval // self.size)))
            for interval in (rows, columns)
        )
        possible: Any = False
        certain: Any = True
        for extra in range(int(np.max(queries.high - queries.low, initial=0)) + 1):
            block = np.minimum(queries.low + extra, queries.high)
            seen, last = 0, -1
            for n in range(self.count):
                drawn = self._drawn(block, n)
                inside = np.logical_and(keys.low <= drawn, drawn <= keys.high)
                seen, last = seen + (inside & (drawn != last)), drawn
            possible = np.logical_or(possible, np.greater(seen, 0))
            certain = np.logical_and(certain, seen == keys.high - keys.low + 1)
        return Cover(possible, certain)
