"""Several documents packed into one sequence, known at run time."""

from typing import Any

from attnkit.masks.contract import Data, Mask
from attnkit.options import options


@options
class Documents(Mask):
    """A query attends only inside its own document: `segment_i == segment_j`.

    >>> from attnkit.masks.picture import picture
    >>> segments = [7, 7, 7, 2, 2]
    >>> print(picture(Documents(), 5, data={"segment_i": segments, "segment_j": segments}))
    # # # . .
    # # # . .
    # # # . .
    . . . # #
    . . . # #

    Segment numbers are run-time data, one integer per query (`segment_i`) and per key (`segment_j`);
    any numbering will do, and a document need not be contiguous. The cover claims nothing; documents
    whose lengths are known before compilation are `Packed`, which skips blocks.

    Source: Krell et al. 2021, arXiv 2107.02027.
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return data["segment_i"] == data["segment_j"]

    def needs(self) -> frozenset[str]:
        return frozenset({"segment_i", "segment_j"})
