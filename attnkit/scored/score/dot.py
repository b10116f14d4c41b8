"""Scaled dot product."""

from typing import Annotated, ClassVar

from annotated_types import Gt

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card


@options
class Dot(Score):
    """`s = scale * q . k`, with `scale = 1 / sqrt(dim)` unless given."""

    card: ClassVar[Card] = Card(
        source="Vaswani et al. 2017, arXiv 1706.03762, equation 1",
        equation="s_ij = q_i . k_j / sqrt(dim)",
        pair_flops="2 * dim",
    )
    scale: Annotated[float, Gt(0)] | None = None

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        scale = q.shape[1] ** -0.5 if self.scale is None else self.scale
        return dot(q, k) * scale
