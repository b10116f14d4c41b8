"""Relative attention of Music Transformer."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge

from attnkit.encodings.distance import clipped, entries_of
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class MusicTransformer(Position):
    """The query is also compared with a learned vector for the distance back to the key.

    Made for causal attention: keys after the query share the vector of distance 0. Distances of
    `max_distance` and more share one. What the paper computes by skewing a matrix is looked up here. The
    scale is `1 / sqrt(dim)`, as that of `Dot` by default.

    Attributes:
        max_distance: longest distance with a vector of its own.
    """

    card: ClassVar[Card] = Card(
        source="Huang et al. 2018, arXiv 1809.04281, section 3.4",
        equation="s_ij = q_i . (k_j + E_{j-i}) / sqrt(dim)",
        pair_flops="4",
        assumes="causal attention",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    max_distance: Annotated[int, Ge(0)] = 256

    kinds: ClassVar[Kinds] = {"distance": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        size = (shape.heads, self.max_distance + 1, shape.dim)
        return {"distance": jax.random.normal(key, size) * shape.dim**-0.5}

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        by_distance = dot(q.astype(p["distance"].dtype), p["distance"]) * q.shape[1] ** -0.5
        return entries_of(by_distance, clipped(i, j, self.max_distance, 0))
