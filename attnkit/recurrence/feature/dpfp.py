"""Deterministic parameter-free projection."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.variant import Card


@options
class Dpfp(FeatureMap):
    """Products of the rectified entries of `[x, -x]` with those some places further: sparse.

    Attributes:
        products: number of shifts, nu in the paper.
    """

    card: ClassVar[Card] = Card(
        source="Schlag, Irie & Schmidhuber 2021 (DPFP), arXiv 2102.11174",
        equation="phi_{i nu}(x) = relu([x, -x])_i relu([x, -x])_{i + nu}",
    )
    positive: ClassVar[bool] = True
    products: Annotated[int, Ge(1)] = 1

    def width(self, dim: int) -> int:
        return 2 * dim * self.products

    def features(self, p: Params, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens features"]:
        r = jax.nn.relu(jnp.concatenate([x, -x], axis=-1))
        return jnp.concatenate([r * jnp.roll(r, n, axis=-1) for n in range(1, self.products + 1)], axis=-1)
