"""Several documents packed into one sequence, known at run time."""

from typing import Any

from attnkit.masks.contract import Data, Mask, Needs
from attnkit.option_class import options


@options
class SameDocument(Mask):
    """A query attends only inside its own document: the segments of query and key are equal.

    >>> from attnkit.masks.contract import Data
    >>> from attnkit.masks.picture import picture
    >>> segments = [7, 7, 7, 2, 2]
    >>> print(picture(SameDocument(), 5, data=Data.segments(segments)))
    # # # . .
    # # # . .
    # # # . .
    . . . # #
    . . . # #

    Segment numbers are run-time data, one integer per query (`query.segment`) and per key (`key.segment`);
    any numbering will do, and a document need not be contiguous. The cover claims nothing; documents
    whose lengths are known before compilation are `Packed`, which skips blocks.

    Source: Krell et al. 2021, arXiv 2107.02027.
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return data.query["segment"] == data.key["segment"]

    def needs(self) -> Needs:
        return Needs(query=frozenset({"segment"}), key=frozenset({"segment"}))
