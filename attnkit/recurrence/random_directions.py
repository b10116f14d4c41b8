"""Random directions for features: independent, or orthogonal with the same distribution of each."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def directions(key: jax.Array, count: int, dim: int, orthogonal: bool) -> Float[Array, "count dim"]:
    """`count` vectors, each standard normal in `dim` dimensions.

    If `orthogonal`, those of each block of `dim` are orthogonal to each other: rows of a random rotation,
    with lengths drawn as those of independent normal vectors.

    Source: Yu et al. 2016, arXiv 1610.09072; Choromanski et al. 2021, arXiv 2009.14794, section 2.4.
    """
    if not orthogonal:
        return jax.random.normal(key, (count, dim))
    one, two = jax.random.split(key)
    blocks = -(-count // dim)
    q, r = jnp.linalg.qr(jax.random.normal(one, (blocks, dim, dim)))
    # Without the signs, the rotation of a QR factorization is not uniform.
    q = q * jnp.sign(jnp.diagonal(r, axis1=1, axis2=2))[:, None, :]
    lengths: Array = jnp.linalg.norm(jax.random.normal(two, (count, dim)), axis=1, keepdims=True)
    return jnp.swapaxes(q, 1, 2).reshape(-1, dim)[:count] * lengths
