"""Random keys of the past are hidden while training."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from attnkit.masks.contract import Cover, Data, Interval, Mask, Needs, library, unknown
from attnkit.masks.counters import random_bits
from attnkit.option_class import options


@options
class Forgetful(Mask):
    """A random share of all keys, up to `rate`, is hidden from every query but their own.

    >>> from attnkit.masks.contract import Data
    >>> from attnkit.masks.picture import picture
    >>> print(picture(Forgetful(rate=0.9), 6, data=Data(scalar={"forget": 3})))
    # # # . . #
    # # # . . #
    # # # . . #
    # # # # . #
    # # # . # #
    # # # . . #

    The share is drawn uniformly between 0 and `rate` for each sequence, then every key is hidden with that
    probability, the same ones for all queries and heads. The first position is never hidden, nor is a
    query's own. Both draws are a pure function of `data.scalar["forget"]`, an integer that should differ from
    step to step and from sequence to sequence, and of the position. Combine it with `& Causal()`, and
    leave it out when evaluating: a model is trained with it, not used with it. The cover knows only what
    is never hidden.

    Source: Liu et al. 2022 (FCM), arXiv 2210.13432.

    Attributes:
        rate: the largest share of hidden keys.
    """

    rate: Annotated[float, Ge(0), Le(1)] = 0.15

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        seed = library(j, data.scalar["forget"]).asarray(data.scalar["forget"])
        share = random_bits(seed, np.asarray(0)) >> 16
        hidden = random_bits(seed, np.asarray(1), j) < share * np.uint32(round(self.rate * 2**16))
        return ~hidden | (i == j) | (j <= 0)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        ahead = columns - rows
        own = np.logical_and(ahead.low == 0, ahead.high == 0)
        kept = np.logical_or(columns.high <= 0, round(self.rate * 2**16) == 0)
        return Cover(unknown(rows, columns).possible, np.logical_or(own, kept))

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({"forget"}))
