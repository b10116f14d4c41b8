"""Every so many positions."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Dilated(Mask):
    """A query attends to keys a multiple of `step` away, before and after it: `(j - i) mod step = 0`.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Dilated(step=3), 5))
    # . . # .
    . # . . #
    . . # . .
    # . . # .
    . # . . #

    It has no end of its own: Longformer's dilated window of two keys on each side is
    `Window(back=6, ahead=6) & Dilated(step=3)`, and LongNet's dilated segment of 9 positions is
    `Chunked(size=9) & Dilated(step=3)`. The cover is exact; with `step > 1` it seldom proves a block empty.

    Source: Beltagy et al. 2020 (Longformer), arXiv 2004.05150, section 3.1.

    Attributes:
        step: distance of one visible key to the next.
    """

    checked_with: ClassVar[dict[str, Any]] = {"step": 3}
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    step: Annotated[int, Ge(1)] = 2

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j - i) % self.step == 0

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        least, most = columns - rows
        possible = most // self.step * self.step >= least
        certain = np.logical_or(self.step == 1, np.logical_and(least == most, possible))
        return Cover(possible, certain)
