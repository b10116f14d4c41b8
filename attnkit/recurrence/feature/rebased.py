"""A learned parabola."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card, HeadShape, Kinds

EPSILON = 1e-5


@options
class Rebased(FeatureMap):
    """All products of two entries of `gamma * layer_norm(x) + beta`: `phi(q) . phi(k) = (q' . k')^2 / dim`.

    The state has dim^2 rows: give it narrow heads (16 in the paper).
    """

    card: ClassVar[Card] = Card(
        source="Aksenov et al. 2024 (ReBased), arXiv 2402.10644",
        equation="phi(x) = y (x) y, y = (gamma * layer_norm(x) + beta) / dim^(1/4)",
    )
    positive: ClassVar[bool] = True

    def width(self, dim: int) -> int:
        return dim * dim

    kinds: ClassVar[Kinds] = {"gamma": "gain", "beta": "bias"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        size = (shape.heads, shape.dim)
        return {"gamma": jnp.ones(size), "beta": jnp.zeros(size)}

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens features"]:
        centered = x - x.mean(-1, keepdims=True)
        y = centered * jax.lax.rsqrt(jnp.square(centered).mean(-1, keepdims=True) + EPSILON)
        y = (p["gamma"] * y + p["beta"]) * float(x.shape[-1] ** -0.25)
        return (y[:, :, None] * y[:, None, :]).reshape(x.shape[0], -1)
