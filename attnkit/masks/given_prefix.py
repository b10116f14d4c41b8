"""A prefix read in both directions, of a length known at run time."""

from typing import Any

from attnkit.masks.causal import Causal
from attnkit.masks.contract import Cover, Data, Interval, Mask, Needs, unknown
from attnkit.option_class import options


@options
class GivenPrefix(Mask):
    """`Prefix` of `data.scalar["prefix_length"]` positions: `j <= i or j < prefix_length`.

    >>> from attnkit.masks.contract import Data
    >>> from attnkit.masks.picture import picture
    >>> print(picture(GivenPrefix(), 4, data=Data(scalar={"prefix_length": 3})))
    # # # .
    # # # .
    # # # .
    # # # #

    The cover knows the causal part only: no block is proved empty, those in the past are proved full.

    Source: Raffel et al. 2020 (T5), arXiv 1910.10683, section 3.2.1.
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j <= i) | (j < data.scalar["prefix_length"])

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        return Cover(unknown(rows, columns).possible, Causal().cover(rows, columns).certain)

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({"prefix_length"}))
