"""Power kernel of the distance."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, Kinds


@options
class KerplePower(Position):
    """A penalty that grows with a power of the distance; each head learns how much and which power.

    The factor is kept as a logarithm and the power as the logit of its half, which keeps them in range (the
    authors clamp them).
    """

    card: ClassVar[Card] = Card(
        source="Chi et al. 2022 (KERPLE), arXiv 2205.09921, power",
        equation="s_ij <- s_ij - r1_h |i - j|^{r2_h}, r1 > 0, 0 < r2 < 2",
        pair_flops="6",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)

    kinds: ClassVar[Kinds] = {"log_r1": "rate", "logit_r2": "rate"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        r1, half = jax.random.uniform(key, (2, shape.heads), minval=0.01, maxval=0.99)
        return {"log_r1": jnp.log(r1), "logit_r2": jnp.log(half / (1 - half))}

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        distance = jnp.abs(i[:, None] - j[None, :])
        # 0^r has no derivative by r that is a number, so the power is taken of 1 there and not used.
        log_distance = jnp.log(jnp.maximum(distance, 1).astype(p["log_r1"].dtype))
        power = jnp.exp(p["log_r1"] + 2 * jax.nn.sigmoid(p["logit_r2"]) * log_distance)
        return jnp.where(distance > 0, -power, 0)
