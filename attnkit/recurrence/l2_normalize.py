"""L2 normalization of each token's vector."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-6


def l2_normalize(x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
    """`x / sqrt(sum(x^2) + 1e-6)`: rows of length 1, but zeros stay zeros.

    >>> [round(a, 5) for a in l2_normalize(jnp.array([[3.0, 4.0]]))[0].tolist()]
    [0.6, 0.8]
    """
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + EPSILON)
