"""Rotary position embedding for longer texts by a larger base."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class RotaryNtk(Position):
    """Rotary embedding whose base grows: the slowest rotation slows by the factor, the fastest not at all.

    Attributes:
        factor: how many times longer texts become.
        base: ratio that sets the slowest rotation before it is changed.
    """

    card: ClassVar[Card] = Card(
        source="Peng et al. 2023 (YaRN), arXiv 2309.00071, section 3.1, 'NTK-aware'",
        equation="rotary with base * factor^(dim / (dim - 2))",
        assumes="dim is even and greater than 2",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    factor: Annotated[float, Ge(1)] = 4.0
    base: Annotated[float, Gt(1)] = 10000.0

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Columns) -> Keys:
        dim = k.shape[1]
        if dim <= 2:
            raise ValueError(f"RotaryNtk: dim = {dim} must be greater than 2; take a wider head or Rotary")
        return rotate(k, j, frequencies(dim, self.base * self.factor ** (dim / (dim - 2))))
