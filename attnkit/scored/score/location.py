"""Attention to places, whatever stands there."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class Location(Score):
    """The query alone says how much it wants each position; keys are not looked at. No scale.

    Positions at `length` and beyond have no vector: their scores are NaN.

    Attributes:
        length: how many positions there are vectors for.
    """

    card: ClassVar[Card] = Card(
        source="Luong, Pham & Manning 2015, arXiv 1508.04025, section 3.1, equation 8, 'location'",
        equation="s_ij = w_j . q_i",
        pair_flops="2 * dim",
        assumes="positions below length",
    )
    claims: ClassVar[tuple[str, ...]] = ()
    length: Annotated[int, Ge(1)] = 512

    kinds: ClassVar[Kinds] = {"place": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        return {"place": jax.random.normal(key, (shape.heads, self.length, shape.dim)) * shape.dim**-0.5}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        vectors = p["place"][jnp.clip(j, 0, self.length - 1)]
        beyond = jnp.where(j < self.length, 0.0, jnp.nan)
        return dot(q.astype(vectors.dtype), vectors) + beyond[None, :]
