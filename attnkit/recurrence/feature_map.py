"""Contract of feature maps: vectors of queries and keys whose scalar products stand for `exp(q . k)`."""

import abc
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.hooks import Hooked
from attnkit.recurrence.contract import Params
from attnkit.variant import Card, HeadShape


class Features(NamedTuple):
    """Feature vectors `exp(log_scale) values`, split so that `values` are neither huge nor all tiny.

    Attributes:
        values: `[tokens, features]`.
        log_scale: `[tokens]`; `None` for zeros.
    """

    values: Float[Array, "tokens features"]
    log_scale: Float[Array, "tokens"] | None = None


class FeatureMap(Hooked, abc.ABC):
    """A map of queries and keys, applied to each token: `features`, or `features_at` if it needs more."""

    card: ClassVar[Card]
    #: whether queries and keys have the same parameters
    tied: ClassVar[bool] = False
    #: whether features depend on the token's position
    positional: ClassVar[bool] = False
    #: whether features have a `log_scale`
    scaled: ClassVar[bool] = False
    #: whether scalar products of features are never negative
    positive: ClassVar[bool] = False
    #: option that buys accuracy of an estimate of `kernel`; empty if it is no estimate
    budget: ClassVar[str] = ""
    #: whether `random_constants` are drawn anew at every training step
    redrawn: bool = False

    @abc.abstractmethod
    def width(self, dim: int) -> int:
        """Number of features of a vector of width `dim`."""

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        """Fresh parameters of one side (of both if `tied`), each with a leading axis of `shape.heads`."""
        return {}

    def random_constants(self, key: jax.Array, shape: HeadShape) -> Params:
        """Random numbers that are not trained, of both sides, each with a leading axis of `shape.heads`."""
        return {}

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens features"]:
        """Features of each row. `p` has the parameters and constants of one head and side."""
        raise NotImplementedError

    def features_at(
        self, p: Params, x: Float[Array, "tokens dim"], position: Int[Array, "tokens"] | None
    ) -> Features:
        """Features with their scale, of tokens at `position` (`None` unless `positional`)."""
        return Features(self.features(p, x))

    def kernel(
        self, p: Params, q: Float[Array, "queries dim"], k: Float[Array, "keys dim"]
    ) -> Float[Array, "queries keys"]:
        """The function that the products estimate: `exp(q . k / sqrt(dim))`."""
        return jnp.exp(q @ k.T * q.shape[-1] ** -0.5)
