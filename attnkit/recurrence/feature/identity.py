"""No feature map."""

from typing import ClassVar

from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card


@options
class Identity(FeatureMap):
    """The vector itself. Scalar products may be negative: switch the normalizer off."""

    card: ClassVar[Card] = Card(
        source="Schlag, Irie & Schmidhuber 2021, arXiv 2102.11174",
        equation="phi(x) = x",
        assumes="normalizer = false",
    )

    def width(self, dim: int) -> int:
        return dim

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
        return x
