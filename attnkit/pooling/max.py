"""Max pooling."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.contract import Params, Pool, PoolOutput
from attnkit.variant import Card


@options
class Max(Pool):
    """The largest value of each feature.

    The weights say in which share of the features a vector has the largest value; equals share.
    """

    card: ClassVar[Card] = Card(
        source="Collobert et al. 2011, arXiv 1103.0398, section 3.3.2", equation="o_c = max_j x_jc"
    )

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        seen = jnp.where(keep[:, None], x, -jnp.inf)
        top = jnp.max(seen, axis=0, initial=-jnp.inf, keepdims=True)
        first = (keep[:, None] & (seen == top)).astype(jnp.promote_types(x.dtype, jnp.float32))
        w = (first / jnp.maximum(first.sum(0, keepdims=True), 1)).mean(1)[None]
        return PoolOutput(jnp.where(jnp.any(keep), top, 0).astype(x.dtype), w)
