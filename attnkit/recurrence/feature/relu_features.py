"""Rectified features."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card


@options
class ReluFeatures(FeatureMap):
    """`max(x, 0)`. A query whose features are all zero reads zeros."""

    card: ClassVar[Card] = Card(
        source="Cai et al. 2023 (EfficientViT), arXiv 2205.14756",
        equation="phi(x) = max(x, 0)",
    )
    positive: ClassVar[bool] = True

    def width(self, dim: int) -> int:
        return dim

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
        return jax.nn.relu(x)
