"""Random pairs are hidden while training."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt

from attnkit.masks.contract import Cover, Data, Interval, Mask, Needs, library, unknown
from attnkit.masks.counters import random_bits
from attnkit.option_class import options


@options
class DropKey(Mask):
    """Every query of every head does without a random share `rate` of its keys, which others make up for.

    >>> from attnkit.masks.contract import Data
    >>> from attnkit.masks.picture import picture
    >>> print(picture(DropKey(rate=0.4), 4, data=Data(scalar={"drop": 3})))
    # . . .
    . # . #
    # # . #
    # # . .

    Unlike dropout of the weights, the others still sum to 1. Each pair is hidden on its own, a pure function
    of `data.scalar["drop"]`, an integer that should differ from step to step and from sequence to sequence,
    of the head and of the two positions. A row may lose all its keys, its own too, and then gives zeros.
    Leave it out when evaluating. The cover claims nothing unless `rate` is 0.

    Source: Li et al. 2022 (DropKey), arXiv 2208.02646.

    Attributes:
        rate: share of the pairs that are hidden.
    """

    rate: Annotated[float, Ge(0), Lt(1)] = 0.1

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        seed, head = (library(j, a).asarray(a) for a in (data.scalar["drop"], data.head))
        return random_bits(seed, head, i, j) >> 16 >= np.uint32(round(self.rate * 2**16))

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        possible, certain = unknown(rows, columns)
        return Cover(possible, certain | (round(self.rate * 2**16) == 0))

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({"drop"}))
