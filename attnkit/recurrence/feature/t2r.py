"""The learned features of Transformer-to-RNN."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card, HeadShape, Kinds


@options
class T2r(FeatureMap):
    """A one-layer perceptron for each head, one for queries and one for keys."""

    card: ClassVar[Card] = Card(
        source="Kasai et al. 2021 (T2R), arXiv 2103.13076",
        equation="phi(x) = relu(W x + c)",
    )
    positive: ClassVar[bool] = True

    def width(self, dim: int) -> int:
        return dim

    kinds: ClassVar[Kinds] = {"weight": "weight", "bias": "bias"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        size = (shape.heads, shape.dim, shape.dim)
        weight = jax.random.normal(key, size) * shape.dim**-0.5
        return {"weight": weight, "bias": jnp.zeros((shape.heads, shape.dim))}

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
        return jax.nn.relu(x @ p["weight"] + p["bias"])
