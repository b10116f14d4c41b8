"""Dropout with explicit keys: one for all examples of a batch, or one for each of them."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnkit.masks.counters import scramble


def dropout(
    x: Float[Array, "rows *shape"], rate: float | Float[Array, ""], key: jax.Array | None
) -> Float[Array, "rows *shape"]:
    """`x` with each number set to zero with probability `rate` and the others divided by `1 - rate`.

    Without a key, `x` itself. The numbers of a row depend on the row's own key alone (`row_keys`): a word is
    drawn of the key, and number `n` hashed with it, which costs little beside the network. A rate that is an
    array, and so may be another for each member of a population, is not 0.

    Source: Srivastava et al. 2014, JMLR 15.
    """
    if key is None or (not isinstance(rate, jax.Array) and rate == 0):
        return x
    draw = jax.vmap(lambda own: jax.random.bits(own, (2,), jnp.uint32))
    seeds = draw(row_keys(key, x.shape[0]))
    numbers = jnp.arange(math.prod(x.shape[1:]), dtype=jnp.uint32)
    words = scramble(scramble(numbers ^ seeds[:, :1]) ^ seeds[:, 1:])
    # In float32 whether it is an array or not, so that a member of a population drops what it would alone.
    keep = (words >= (jnp.float32(rate) * 2.0**32).astype(jnp.uint32)).reshape(x.shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))


def row_keys(key: jax.Array, rows: int) -> Key[Array, " rows"]:
    """A key for each of `rows`: folded with the row's number, or those given, one for each example.

    Where there are more rows than examples, the rows of an example are neighbors.

    Raises:
        ValueError: if the rows are not a multiple of the examples.
    """
    if key.ndim == 0:
        return jax.vmap(lambda n: jax.random.fold_in(key, n))(jnp.arange(rows))
    each, rest = divmod(rows, key.shape[0])
    if rest:
        raise ValueError(f"key {key.shape}: expected one key, or one for each example of {rows} rows")
    return key if each == 1 else jax.vmap(lambda own: jax.random.split(own, each))(key).reshape(rows)


def keys(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """`count` independent keys (or keys for each example), or as many times `None`."""
    if key is None:
        return [None] * count
    if key.ndim == 0:
        return list(jax.random.split(key, count))
    each = jax.vmap(lambda own: jax.random.split(own, count), out_axes=1)(key)
    return [each[n] for n in range(count)]


def fold(key: jax.Array | None, number: int) -> jax.Array | None:
    """The key, or the key of each example, folded with a number; `None` if there is none."""
    if key is None:
        return None
    fold_in = jax.random.fold_in if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))
    return fold_in(key, number)
