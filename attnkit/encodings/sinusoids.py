"""Sinusoids of position."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def sinusoids(positions: Int[Array, "tokens"], dim: int, base: float = 10000.0) -> Float[Array, "tokens dim"]:
    """Sinusoidal position vectors: `sin(i / base^(2c/dim))` in even places, `cos` in odd ones.

    Args:
        positions: absolute integer positions.
        dim: width of the vectors, even.
        base: ratio of the longest wavelength to the shortest.

    Returns:
        Vectors with entries in [-1, 1] and RMS sqrt(1/2).

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5.

    >>> sinusoids(jnp.array([0]), 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    angle = positions[:, None] * base ** (-jnp.arange(0, dim, 2) / dim)
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(positions.shape[0], dim)


def distance_product(
    y: Float[Array, "rows width"], i: Int[Array, "rows"], j: Int[Array, "columns"]
) -> Float[Array, "rows columns"]:
    """`y_i . sinusoids(i - j)` for all pairs, without a vector for each pair.

    `sin((i - j) f)` and `cos((i - j) f)` are sums of products of sines and cosines of `i f` and `j f`, so
    `y_i` can be turned by its own position once, and a matrix product with `sinusoids(j)` does the rest.

    >>> y, i, j = jnp.array([[3.0, 5.0]]), jnp.array([7]), jnp.array([7])
    >>> distance_product(y, i, j).round(5).tolist()
    [[5.0]]
    """
    width = y.shape[1]
    at_i, at_j = (sinusoids(positions, width).astype(y.dtype) for positions in (i, j))
    of_sin, of_cos, sin, cos = y[:, ::2], y[:, 1::2], at_i[:, ::2], at_i[:, 1::2]
    turned = jnp.stack([of_cos * sin - of_sin * cos, of_sin * sin + of_cos * cos], axis=-1)
    return turned.reshape(y.shape) @ at_j.T
