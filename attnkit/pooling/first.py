"""The first vector stands for all."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.contract import Params, Pool, PoolOutput, weighted
from attnkit.variant import Card


@options
class First(Pool):
    """The first vector."""

    card: ClassVar[Card] = Card(
        source="Devlin et al. 2018 (BERT), arXiv 1810.04805, the vector of [CLS]",
        equation="o = x_1",
    )

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        chosen = keep & (jnp.cumsum(keep) == 1)
        w = chosen.astype(jnp.promote_types(x.dtype, jnp.float32))[None]
        return PoolOutput(weighted(w, x), w)
