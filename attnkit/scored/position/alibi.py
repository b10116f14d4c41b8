"""Attention with linear biases."""

from typing import ClassVar

import jax.numpy as jnp

from attnkit.encodings.slopes import slopes
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape


@options
class Alibi(Position):
    """A penalty proportional to the distance, with a fixed slope for each head."""

    card: ClassVar[Card] = Card(
        source="Press, Smith & Lewis 2021, arXiv 2108.12409, section 3",
        equation="s_ij <- s_ij - m_h |i - j|, m_h = 2^(-8 h / heads)",
        pair_flops="3",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)

    def constants(self, shape: HeadShape) -> Own:
        return {"slope": slopes(shape.heads)}

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return -p["slope"] * jnp.abs(i[:, None] - j[None, :])
