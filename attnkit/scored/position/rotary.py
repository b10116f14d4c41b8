"""Rotary position embedding."""

from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class Rotary(Position):
    """Queries and keys turn with their position, so that their product depends on the distance.

    Attributes:
        base: ratio that sets the slowest rotation.
        fraction: share of the features that turn; the others carry no position.
    """

    card: ClassVar[Card] = Card(
        source="Su et al. 2021 (RoFormer), arXiv 2104.09864, equation 34",
        equation="q_i <- R_i q_i, k_j <- R_j k_j",
        assumes="dim * fraction is even",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    base: Annotated[float, Gt(1)] = 10000.0
    fraction: Annotated[float, Gt(0), Le(1)] = 1.0

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Columns) -> Keys:
        self.check_head_dim(k.shape[1])
        return rotate(k, j, frequencies(int(k.shape[1] * self.fraction), self.base))

    def check_head_dim(self, dim: int) -> None:
        turning = int(dim * self.fraction)
        if turning % 2:
            raise ValueError(
                f"{type(self).__name__}: dim * fraction = {turning} must be even; "
                "change the head dim or fraction"
            )
