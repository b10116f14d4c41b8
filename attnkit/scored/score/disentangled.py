"""Disentangled attention of DeBERTa."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge

from attnkit.encodings.distance import entries_of
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class Disentangled(Score):
    """Content with content, content with relative position, and relative position with content.

    A score and not a position part, because the three terms share the scale `1 / sqrt(3 dim)`. The
    distance `i - j` is an entry `d(i, j) = clip(i - j + D, 0, 2 D - 1)`, `D = max_distance`: the nearest
    `D` tokens after the query and `D - 1` before it are told apart. Each head learns its position vectors
    directly; the paper projects one table shared by all layers, which spans the same functions in one layer.

    Attributes:
        max_distance: `k` of the paper.
    """

    card: ClassVar[Card] = Card(
        source="He et al. 2020 (DeBERTa), arXiv 2006.03654, equations 3 and 4",
        equation="s_ij = (q_i . k_j + q_i . kr_d(i,j) + k_j . qr_d(j,i)) / sqrt(3 dim)",
        pair_flops="2 * dim + 5",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    max_distance: Annotated[int, Ge(1)] = 64

    kinds: ClassVar[Kinds] = {"key": "table", "query": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        size = (shape.heads, 2 * self.max_distance, shape.dim)
        tables = jax.random.normal(key, (2, *size)) * shape.dim**-0.5
        return {"key": tables[0], "query": tables[1]}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        wide = p["key"].dtype
        distance = i[:, None] - j[None, :]
        places = (
            jnp.clip(d + self.max_distance, 0, 2 * self.max_distance - 1) for d in (distance, -distance.T)
        )
        content_place, place_content = (
            entries_of(dot(rows.astype(wide), table), place)
            for rows, table, place in zip((q, k), (p["key"], p["query"]), places, strict=True)
        )
        return (dot(q, k) + content_place + place_content.T) * float((3 * q.shape[1]) ** -0.5)
