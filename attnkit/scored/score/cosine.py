"""Cosine similarity with a learned sharpness."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Gt
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class Cosine(Score):
    """The cosine of the angle between query and key, times a factor that each head learns.

    The paper has one factor for a layer and starts it at `log2(L^2 - L)` for texts of length `L`: 9.9 at
    `L = 31`. A vector shorter than 1e-6 counts as (nearly) zero and has cosine (nearly) zero with all others.

    Attributes:
        start: initial factor, instead of the usual `1 / sqrt(dim)`.
    """

    card: ClassVar[Card] = Card(
        source="Henry et al. 2020 (QKNorm), arXiv 2010.04245",
        equation="s_ij = g_h q_i . k_j / (|q_i| |k_j|)",
        pair_flops="2 * dim",
    )
    start: Annotated[float, Gt(0)] = 10.0

    kinds: ClassVar[Kinds] = {"factor": "gain"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        return {"factor": jnp.full(shape.heads, self.start)}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return dot(unit(q), unit(k)) * p["factor"]


def unit(x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
    """Rows divided by their length, in at least float32; the small term keeps derivatives at 0 finite."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return wide * jax.lax.rsqrt(jnp.sum(jnp.square(wide), axis=1, keepdims=True) + 1e-12)
