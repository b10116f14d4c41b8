"""The learned features of Hedgehog."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card, HeadShape, Kinds


@options
class Hedgehog(FeatureMap):
    """Softmax over the entries of a learned map and over their negatives: spiky, like exp(q . k)."""

    card: ClassVar[Card] = Card(
        source="Zhang et al. 2024 (Hedgehog), arXiv 2402.04347, section 4.2 and appendix A.1, no bias",
        equation="phi(x) = [softmax(W x), softmax(-W x)]",
    )
    positive: ClassVar[bool] = True

    def width(self, dim: int) -> int:
        return 2 * dim

    kinds: ClassVar[Kinds] = {"weight": "weight"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"weight": jnp.tile(jnp.eye(shape.dim), (shape.heads, 1, 1))}

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens features"]:
        y = x @ p["weight"]
        return jnp.concatenate([jax.nn.softmax(y, axis=-1), jax.nn.softmax(-y, axis=-1)], axis=-1)
