"""Near positions on a grid of any number of dimensions: pictures and videos."""

import math
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Neighborhood(Mask):
    """Tokens lie on a grid, numbered row by row; each sees the `kernel` of tokens around it.

    A grid of 3 rows and 4 columns, and a kernel of 1 row and 3 columns:

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Neighborhood(shape=(3, 4), kernel=(1, 3)), 8))
    # # # . . . . .
    # # # . . . . .
    . # # # . . . .
    . # # # . . . .
    . . . . # # # .
    . . . . # # # .
    . . . . . # # #
    . . . . . # # #

    At the border the kernel is moved inside, not cut: every token sees equally many, as in NATTEN. Tokens
    outside the grid see nothing and are not seen. The cover reasons about the smallest box around an
    interval of positions: it is exact for positions within one row of the grid and for whole rows, and
    conservative otherwise.

    Source: Hassani et al. 2023 (Neighborhood Attention Transformer), arXiv 2204.07143.

    Attributes:
        shape: tokens along each axis of the grid, (height, width) for a picture.
        kernel: tokens seen along each axis, counting the query's own; odd, at most `shape`.
    """

    checked_with: ClassVar[dict[str, Any]] = {"shape": (5, 7), "kernel": (3, 5)}
    shape: tuple[Annotated[int, Ge(1)], ...] = (16, 16)
    kernel: tuple[Annotated[int, Ge(1)], ...] = (7, 7)

    def __post_init__(self) -> None:
        if len(self.kernel) != len(self.shape) or not self.shape:
            raise ValueError(
                f"Neighborhood: kernel = {self.kernel}, shape = {self.shape}: give both a number per axis"
            )
        for size, width in zip(self.shape, self.kernel, strict=True):
            if width > size or width % 2 == 0:
                raise ValueError(
                    f"Neighborhood: kernel = {self.kernel}: each must be odd and at most shape = {self.shape}"
                )

    def _axes(self) -> list[tuple[int, int, int]]:
        """For each axis: its length, the kernel along it, and the step in position along it."""
        steps = [math.prod(self.shape[n + 1 :]) for n in range(len(self.shape))]
        return list(zip(self.shape, self.kernel, steps, strict=True))

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        total = math.prod(self.shape)
        allowed = (i >= 0) & (i < total) & (j >= 0) & (j < total)
        for size, width, step in self._axes():
            start = (i // step % size - width // 2).clip(0, size - width)
            along = j // step % size
            allowed = allowed & (along >= start) & (along < start + width)
        return allowed

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        total = math.prod(self.shape)
        possible, certain = True, True
        inner = []
        for interval in (rows, columns):
            low, high = np.maximum(interval.low, 0), np.minimum(interval.high, total - 1)
            possible = np.logical_and(possible, low <= high)
            certain = np.logical_and(certain, (low == interval.low) & (high == interval.high))
            inner.append(Interval(low, high))
        for size, width, step in self._axes():
            query, key = (box(interval, size, step) for interval in inner)
            first, last = (np.clip(end - width // 2, 0, size - width) for end in query)
            possible = np.logical_and(possible, (key.low < last + width) & (key.high >= first))
            certain = np.logical_and(certain, (key.low >= last) & (key.high < first + width))
        return Cover(possible, certain)


def box(interval: Interval, size: int, step: int) -> Interval:
    """The smallest interval of coordinates along an axis that holds all positions of `interval`."""
    whole = interval.low // (size * step) != interval.high // (size * step)
    low = np.where(whole, 0, interval.low // step % size)
    return Interval(low, np.where(whole, size - 1, interval.high // step % size))
