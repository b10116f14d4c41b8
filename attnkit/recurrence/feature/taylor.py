"""The exponential's Taylor polynomial."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card


@options
class Taylor(FeatureMap):
    """`phi(q) . phi(k) = 1 + s + s^2 / 2` with `s = q . k / sqrt(dim)`, always at least 1/2.

    The state has 1 + dim + dim^2 rows: give it narrow heads (16 in the paper).
    """

    card: ClassVar[Card] = Card(
        source="Arora et al. 2024 (Based), arXiv 2402.18668, section 4.1",
        equation="phi(x) = [1, x / dim^(1/4), (x (x) x) / sqrt(2 dim)]",
    )
    positive: ClassVar[bool] = True

    def width(self, dim: int) -> int:
        return 1 + dim + dim * dim

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens features"]:
        tokens, dim = x.shape
        x = x * dim**-0.25
        square = (x[:, :, None] * x[:, None, :]).reshape(tokens, dim * dim)
        return jnp.concatenate([jnp.ones((tokens, 1), x.dtype), x, square * 0.5**0.5], axis=-1)
