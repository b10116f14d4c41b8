"""A sequence cut into chunks."""

from typing import Any

import jax
import jax.numpy as jnp

CHUNK = 64


def in_chunks(tree: Any, tokens: int, size: int) -> Any:
    """Arrays `[tokens, ...]` as `[chunks, size, ...]`, with zeros at the end; short ones are one chunk.

    >>> in_chunks(jnp.arange(1, 6), 5, 4).tolist()
    [[1, 2, 3, 4], [5, 0, 0, 0]]
    """
    size = min(size, 1 << (tokens - 1).bit_length())
    count = -(-tokens // size)

    def split(a: jax.Array) -> jax.Array:
        padded = jnp.pad(a, ((0, count * size - tokens), *((0, 0),) * (a.ndim - 1)))
        return padded.reshape(count, size, *a.shape[1:])

    return jax.tree.map(split, tree)
