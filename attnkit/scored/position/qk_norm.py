"""Normalized queries and keys."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Gt
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows
from attnkit.variant import Card, HeadShape, Kinds


@options
class QkNorm(Position):
    """Queries and keys are divided by their root mean square, so that scores cannot grow without bound.

    Normally the first of the position parts, before any rotation. The paper has a gain for each feature of
    queries and one of keys; keys are shared by a group of heads, so here each head has one gain, on the
    query, which is their product and loses nothing unless a rotation follows.

    Attributes:
        epsilon: added to the mean square.
    """

    card: ClassVar[Card] = Card(
        source="Dehghani et al. 2023 (ViT-22B), arXiv 2302.05442",
        equation="q_i <- g_h * q_i / rms(q_i), k_j <- k_j / rms(k_j)",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation", "permutation")
    epsilon: Annotated[float, Gt(0)] = 1e-6

    kinds: ClassVar[Kinds] = {"gain": "gain"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        return {"gain": jnp.ones((shape.heads, shape.dim))}

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return (self._scaled(q) * p["gain"]).astype(q.dtype)

    def key(self, k: Keys, j: Columns) -> Keys:
        return self._scaled(k).astype(k.dtype)

    def _scaled(self, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
        """Rows with a root mean square of 1, in at least float32."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=1, keepdims=True) + self.epsilon)
