"""RFA: random Fourier features of normalized queries and keys."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card, HeadShape, Kinds


@options
class RandomFeature(FeatureMap):
    """Random sines and cosines, an estimate of the Gaussian kernel of queries and keys of length 1.

    On vectors of length 1 the Gaussian kernel is the softmax kernel but for a factor. Weights may be
    negative, and a sum of weights near zero makes an output large: as in the paper, nothing prevents it.
    With `forget_gate = True` of the linear recurrence this is the gated RFA of the paper.

    Attributes:
        directions: random directions, two features for each.
        redrawn: whether directions are drawn anew at every training step.
    """

    card: ClassVar[Card] = Card(
        source="Peng et al. 2021 (RFA), arXiv 2103.02143",
        equation="f(x) = [sin W x, cos W x] / sqrt(directions), x = sigma q / |q|",
        assumes="one set of directions, where the paper chooses among 200 drawn beforehand",
    )
    tied: ClassVar[bool] = True
    budget: ClassVar[str] = "directions"
    directions: Annotated[int, Ge(1)] = 64
    redrawn: bool = False

    def width(self, dim: int) -> int:
        return 2 * self.directions

    kinds: ClassVar[Kinds] = {"sigma": "gain"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"sigma": jnp.ones((shape.heads, shape.dim))}

    def random_constants(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"direction": jax.random.normal(key, (shape.heads, self.directions, shape.dim))}

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens features"]:
        along = unit(x) * p["sigma"] @ p["direction"].T
        return jnp.concatenate([jnp.sin(along), jnp.cos(along)], axis=1) * float(self.directions**-0.5)

    def kernel(
        self, p: Params, q: Float[Array, "queries dim"], k: Float[Array, "keys dim"]
    ) -> Float[Array, "queries keys"]:
        """`exp(-|x - y|^2 / 2)` of the scaled unit vectors."""
        x, y = unit(q) * p["sigma"], unit(k) * p["sigma"]
        return jnp.exp(x @ y.T - jnp.sum(x * x, 1)[:, None] / 2 - jnp.sum(y * y, 1) / 2)


def unit(x: Float[Array, "rows dim"]) -> Float[Array, "rows dim"]:
    """Rows of length 1; a row of zeros stays."""
    square = jnp.sum(x * x, axis=1, keepdims=True)
    return jnp.where(square > 0, x * jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)
