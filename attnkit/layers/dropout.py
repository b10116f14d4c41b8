"""Dropout with an explicit key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def dropout(
    x: Float[Array, "*shape"], rate: float | Float[Array, ""], key: jax.Array | None
) -> Float[Array, "*shape"]:
    """`x` with each number set to zero with probability `rate` and the others divided by `1 - rate`.

    Without a key, `x` itself. A rate that is an array, and so may be another for each member of a population,
    is not 0.

    Source: Srivastava et al. 2014, JMLR 15.
    """
    if key is None or (not isinstance(rate, jax.Array) and rate == 0):
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))


def keys(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """`count` independent keys, or as many times `None`."""
    return [None] * count if key is None else list(jax.random.split(key, count))
