"""Mean pooling."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.contract import Params, Pool, PoolOutput, weighted
from attnkit.variant import Card


@options
class Mean(Pool):
    """The mean of all vectors."""

    card: ClassVar[Card] = Card(
        source="Zaheer et al. 2017 (Deep Sets), arXiv 1703.06114", equation="o = (1/n) sum_j x_j"
    )

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        one = keep.astype(jnp.promote_types(x.dtype, jnp.float32))[None]
        w = one / jnp.maximum(jnp.sum(one), 1)
        return PoolOutput(weighted(w, x), w)
