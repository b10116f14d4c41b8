"""The feature map of the linear Transformer."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card


@options
class EluPlusOne(FeatureMap):
    """`elu(x) + 1`: positive, with a gradient everywhere."""

    card: ClassVar[Card] = Card(
        source="Katharopoulos et al. 2020, arXiv 2006.16236, equation 7",
        equation="phi(x) = elu(x) + 1",
    )
    positive: ClassVar[bool] = True

    def width(self, dim: int) -> int:
        return dim

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
        return jax.nn.elu(x) + 1
