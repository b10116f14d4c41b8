"""Positions of tokens, and their products with frequencies."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

STRIDE = 256


def next_positions(
    before: Int[Array, ""], real: Bool[Array, "tokens"]
) -> tuple[Int[Array, "tokens"], Int[Array, ""]]:
    """Positions of tokens that follow `before` others, and the number of tokens after them."""
    return before + jnp.arange(real.shape[0]), before + jnp.sum(real)


def fractional_turns(
    position: Int[Array, "tokens"], frequency: Float[Array, "modes"]
) -> Float[Array, "tokens modes"]:
    """Fractional part of `position * frequency`, as exact for late positions as for early ones.

    The product of a late position keeps few digits after the point. A multiple of 256 is taken of the
    fraction of `256 * frequency`, which is exact.

    >>> fractional_turns(jnp.array([1, 1024]), jnp.array([0.25, 0.001953125])).tolist()
    [[0.25, 0.001953125], [0.0, 0.0]]
    """
    stride = STRIDE * frequency
    stride = stride - jax.lax.stop_gradient(jnp.floor(stride))
    far, near = (part.astype(frequency.dtype)[:, None] for part in (position // STRIDE, position % STRIDE))
    turns = far * stride + near * frequency
    return turns - jax.lax.stop_gradient(jnp.floor(turns))
