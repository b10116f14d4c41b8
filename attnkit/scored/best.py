"""The best keys of each row, found block by block."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.scored.contract import Keep, Row, Scores


class Best(NamedTuple):
    """The best keys so far, the best first, and of equal scores the earlier.

    Attributes:
        scores: -inf where there are not that many.
        places: their positions; -1 where there are not that many.
    """

    scores: Float[Array, "queries count"]
    places: Int[Array, "queries count"]


def none_yet(empty: Row, count: int) -> Best:
    """No key has been seen. `empty` gives the rows and the type."""
    shape = (empty.shape[0], count)
    return Best(jnp.full(shape, -jnp.inf, empty.dtype), jnp.full(shape, jnp.int32(-1)))


def better(best: Best, s: Scores, keep: Keep, j: Int[Array, "keys"]) -> Best:
    """After a block of keys, in whatever order blocks come."""
    count = best.scores.shape[1]
    places = jnp.broadcast_to(jnp.where(keep, j, -1).astype(jnp.int32), keep.shape)
    s, order = jax.lax.top_k(jnp.where(keep, s, -jnp.inf), min(count, keep.shape[1]))
    both = (
        jnp.concatenate([-best.scores, -s], axis=1),
        jnp.concatenate([best.places, jnp.take_along_axis(places, order, axis=1)], axis=1),
    )
    s, places = jax.lax.sort(both, num_keys=2)
    return Best(-s[:, :count], places[:, :count])
