"""Masks and tables as a notebook shows them."""

import dataclasses
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from attnkit.masks.contract import Data, Mask
    from attnkit.scored.contract import Scored

LARGEST = 128
CELL = 12


@dataclasses.dataclass(frozen=True, repr=False)
class MaskPicture:
    """A drawn mask: rows are queries, columns keys, a filled cell is a pair that may attend.

    Attributes:
        allowed: `[queries, keys]` bool.
    """

    allowed: np.ndarray

    def _repr_html_(self) -> str:
        size = CELL * len(self.allowed)
        cells = "".join(
            f'<rect x="{CELL * j + 1}" y="{CELL * i + 1}" width="{CELL - 2}" height="{CELL - 2}"/>'
            for i, j in np.argwhere(self.allowed)
        )
        frame = f'<rect width="{size}" height="{size}" fill="none" stroke="currentColor" opacity=".3"/>'
        name = "mask: rows are queries, columns keys"
        return (
            f'<svg width="{size}" height="{size}" fill="currentColor" role="img" aria-label="{name}">'
            f"{frame}{cells}</svg>"
        )

    def __repr__(self) -> str:
        return "\n".join("".join(" x" if one else " ." for one in row) for row in self.allowed)


def draw(mask: "Mask | Scored", length: int = 16, *, data: "Data | None" = None) -> MaskPicture:
    """The pairs of `length` queries and keys that a mask, or that of an attention, allows; of head 0.

    Args:
        mask: a mask, or a scored attention.
        length: number of queries and of keys, from position 0.
        data: run-time data that the mask reads.

    Raises:
        ValueError: if `length` is not from 1 to 128, or the mask reads data that is not given.

    >>> import attnkit as ak
    >>> ak.draw(ak.Causal() & ak.Window(back=1), 4)
     x . . .
     x x . .
     . x x .
     . . x x
    """
    from attnkit.masks.contract import Data, Mask

    if not 1 <= length <= LARGEST:
        raise ValueError(f"length = {length}: expected 1 to {LARGEST}")
    own: Any = mask if isinstance(mask, Mask) else mask.mask
    data = Data() if data is None else data
    if missing := own.needs() - data.names():
        raise ValueError(f"data: the mask {type(own).__name__} reads {missing}, which is not given")
    i, j = np.arange(length)[:, None], np.arange(length)[None, :]
    allowed = own.allows(i, j, dataclasses.replace(data.over_pairs(), head=0))
    return MaskPicture(np.broadcast_to(np.asarray(allowed), (length, length)))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table of text."""

    def cells(row: Sequence[Any], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(header, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def load_ipython_extension(ipython: Any) -> None:
    """Show masks drawn in notebooks: `%load_ext attnkit`."""
    from attnkit.masks.contract import Mask

    def drawn(mask: Any) -> str | None:
        return None if mask.needs() else draw(mask)._repr_html_()

    ipython.display_formatter.formatters["text/html"].for_type(Mask, drawn)
