"""Trilinear similarity of a query, a key and their product."""

from typing import ClassVar

import jax

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class Trilinear(Score):
    """A learned weighing of the features of the query, of the key and of their product. No scale.

    The query's own term moves all scores of a row alike, so softmax does not see it; others do.
    """

    card: ClassVar[Card] = Card(
        source="Seo et al. 2016 (BiDAF), arXiv 1611.01603, equation 1; named in QANet",
        equation="s_ij = a . q_i + b . k_j + c . (q_i * k_j)",
        pair_flops="2 * dim + 2",
    )

    kinds: ClassVar[Kinds] = {"query": "vector", "key": "vector", "product": "vector"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        weights = jax.random.normal(key, (3, shape.heads, shape.dim)) * shape.dim**-0.5
        return {"query": weights[0], "key": weights[1], "product": weights[2]}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        q, k = q.astype(p["query"].dtype), k.astype(p["key"].dtype)
        return (q @ p["query"])[:, None] + (k @ p["key"])[None, :] + dot(q * p["product"], k)
