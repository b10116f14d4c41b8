"""Bilinear attention."""

from typing import ClassVar

import jax

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class Bilinear(Score):
    """The product of query and key through a learned matrix, Luong's "general" score. No scale.

    The matrix starts with entries of deviation `1 / dim`, so that scores of unit-variance tokens have
    unit variance.
    """

    card: ClassVar[Card] = Card(
        source="Luong, Pham & Manning 2015, arXiv 1508.04025, section 3.1, 'general'",
        equation="s_ij = q_i^T W k_j",
        pair_flops="2 * dim",
    )

    kinds: ClassVar[Kinds] = {"matrix": "weight"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        return {"matrix": jax.random.normal(key, (shape.heads, shape.dim, shape.dim)) / shape.dim}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        through = q @ p["matrix"]
        return dot(through, k.astype(through.dtype))
