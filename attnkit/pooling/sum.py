"""Sum pooling."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.contract import Params, Pool, PoolOutput, weighted
from attnkit.variant import Card, MapKind


@options
class Sum(Pool):
    """The sum of all vectors: it can count, and it grows with their number."""

    card: ClassVar[Card] = Card(
        source="Zaheer et al. 2017 (Deep Sets), arXiv 1703.06114", equation="o = sum_j x_j"
    )
    map_kind: ClassVar[MapKind] = "share"

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        w = keep.astype(jnp.promote_types(x.dtype, jnp.float32))[None]
        return PoolOutput(weighted(w, x), w)
