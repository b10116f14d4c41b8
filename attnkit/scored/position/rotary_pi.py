"""Rotary position embedding for longer texts by position interpolation."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class RotaryPi(Position):
    """Rotary embedding with all rotations slowed down by one factor, as if positions were closer together.

    Attributes:
        factor: how many times longer texts become.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Chen et al. 2023 (position interpolation), arXiv 2306.15595",
        equation="q_i <- R_{i / factor} q_i, k_j <- R_{j / factor} k_j",
        assumes="dim is even",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    factor: Annotated[float, Ge(1)] = 4.0
    base: Annotated[float, Gt(1)] = 10000.0

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Columns) -> Keys:
        return rotate(k, j, frequencies(k.shape[1], self.base) / self.factor)
