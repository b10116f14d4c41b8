"""The last vector stands for all."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.contract import Params, Pool, PoolOutput, weighted
from attnkit.variant import Card


@options
class Last(Pool):
    """The last vector."""

    card: ClassVar[Card] = Card(
        source="Sutskever, Vinyals & Le 2014, arXiv 1409.3215, the encoder's last state",
        equation="o = x_n",
    )

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        chosen = keep & (jnp.cumsum(keep[::-1])[::-1] == 1)
        w = chosen.astype(jnp.promote_types(x.dtype, jnp.float32))[None]
        return PoolOutput(weighted(w, x), w)
