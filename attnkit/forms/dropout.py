"""Dropout by counters: which weight is dropped is a function of (key, head, i, j), not of the form."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from attnkit.masks.counters import scramble


def seeds(key: jax.Array, heads: int) -> UInt32[Array, "heads 2"]:
    """Two random words for each head."""
    return jax.vmap(lambda head: jax.random.bits(jax.random.fold_in(key, head), (2,), "uint32"))(
        jnp.arange(heads)
    )


def kept(
    seed: UInt32[Array, "2"], rate: float, i: Int[Array, "queries"], j: Int[Array, "keys"]
) -> Bool[Array, "queries keys"]:
    """Whether the weight of query position `i` and key position `j` survives; each does with `1 - rate`."""
    rows = scramble(i.astype(jnp.uint32) * jnp.uint32(0x9E3779B9) + seed[0])
    columns = scramble(j.astype(jnp.uint32) * jnp.uint32(0x85EBCA77) + seed[1])
    word = scramble(rows[:, None] ^ columns[None, :])
    return word >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
