"""Logarithmic kernel of the distance."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, Kinds


@options
class KerpleLog(Position):
    """A penalty that grows with the logarithm of the distance; each head learns how much and from where.

    The two numbers are kept as logarithms, which keeps them positive (the authors clamp them at 0.01).
    """

    card: ClassVar[Card] = Card(
        source="Chi et al. 2022 (KERPLE), arXiv 2205.09921, logarithmic",
        equation="s_ij <- s_ij - r1_h log(1 + r2_h |i - j|), r1, r2 > 0",
        pair_flops="5",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)

    kinds: ClassVar[Kinds] = {"log_r1": "rate", "log_r2": "rate"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        r1, r2 = jax.random.uniform(key, (2, shape.heads), minval=0.01)
        return {"log_r1": jnp.log(2 * r1), "log_r2": jnp.log(r2)}

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        distance = jnp.abs(i[:, None] - j[None, :])
        return -jnp.exp(p["log_r1"]) * jnp.log1p(jnp.exp(p["log_r2"]) * distance)
