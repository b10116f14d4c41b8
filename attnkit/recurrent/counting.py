"""Positions of tokens, for variants that turn with them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

STRIDE = 256


def counted(
    before: Int[Array, ""], real: Bool[Array, "tokens"]
) -> tuple[Int[Array, "tokens"], Int[Array, ""]]:
    """Positions of tokens that follow `before` others, and how many there are then."""
    return before + jnp.arange(real.shape[0]), before + jnp.sum(real)


def cycles(position: Int[Array, "tokens"], frequency: Float[Array, "modes"]) -> Float[Array, "tokens modes"]:
    """`position * frequency` up to whole numbers, as exact for late positions as for early ones.

    The product of a late position keeps few digits after the point. A multiple of 256 is taken of the
    fraction of `256 * frequency`, which is exact.

    >>> cycles(jnp.array([1, 1024]), jnp.array([0.25, 0.001953125])).tolist()
    [[0.25, 0.001953125], [0.0, 0.0]]
    """
    stride = STRIDE * frequency
    stride = stride - jax.lax.stop_gradient(jnp.floor(stride))
    far, near = (part.astype(frequency.dtype)[:, None] for part in (position // STRIDE, position % STRIDE))
    turns = far * stride + near * frequency
    return turns - jax.lax.stop_gradient(jnp.floor(turns))
