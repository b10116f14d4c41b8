"""What a feature map is: from a query or key to a vector whose scalar products stand for exp(q . k)."""

import abc
from typing import ClassVar

import jax
from jaxtyping import Array, Float

from attnkit.hooks import Hooked
from attnkit.recurrent.contract import Params
from attnkit.variant import Card, HeadShape


class FeatureMap(Hooked, abc.ABC):
    """A map of queries and keys, applied to each token."""

    card: ClassVar[Card]

    @abc.abstractmethod
    def width(self, dim: int) -> int:
        """Number of features of a vector of width `dim`."""

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        """Fresh parameters of one side, queries or keys, each with a leading axis of `shape.heads`."""
        return {}

    @abc.abstractmethod
    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens features"]:
        """Features of each row. `p` is what `init` made, of one head and one of the two sides."""
