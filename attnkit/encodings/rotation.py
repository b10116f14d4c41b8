"""Rotations of pairs of features by angles proportional to position, and how their speeds are slowed down."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def frequencies(dim: int, base: float = 10000.0) -> Float[Array, "pairs"]:
    """Angular frequencies `base^(-2c/dim)` of the `dim / 2` feature pairs, in radians per position.

    Raises:
        ValueError: if `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"dim = {dim} must be even, because features turn in pairs; change the head dim")
    return base ** (-jnp.arange(0, dim, 2) / dim)


def rotate(
    x: Float[Array, "tokens dim"], positions: Int[Array, "tokens *pairs"], frequency: Float[Array, "pairs"]
) -> Float[Array, "tokens dim"]:
    """Turn the feature pairs `(c, c + pairs)` of each row by `position * frequency[c]`.

    A token has one position, or one for each pair. Features beyond the first `2 * pairs` pass unchanged
    (partial rotation). Angles are computed in at least float32, whatever the type of `x`. Pairs are halves of
    the vector, as in GPT-NeoX, not neighbors.

    Source: Su et al. 2021 (RoFormer), arXiv 2104.09864, equation 34.

    >>> rotate(jnp.array([[1.0, 0.0]]), jnp.array([0]), jnp.array([1.0])).tolist()
    [[1.0, 0.0]]
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    angle = positions.reshape(x.shape[0], math.prod(positions.shape[1:])).astype(wide) * frequency.astype(
        wide
    )
    return turn(x, jnp.sin(angle), jnp.cos(angle))


def turn(
    x: Float[Array, "tokens dim"], sin: Float[Array, "tokens pairs"], cos: Float[Array, "tokens pairs"]
) -> Float[Array, "tokens dim"]:
    """`rotate` by angles whose sines and cosines are known."""
    pairs = sin.shape[1]
    a, b, rest = x[:, :pairs], x[:, pairs : 2 * pairs], x[:, 2 * pairs :]
    turned = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
    return jnp.concatenate([turned, rest], axis=-1) if rest.shape[1] else turned


def slowed_by_parts(
    frequency: Float[Array, "pairs"], factor: float, length: int, least: float, most: float
) -> Float[Array, "pairs"]:
    """Frequencies divided by `factor` where they turn seldom, kept where they turn often, mixed between.

    Args:
        frequency: angular frequencies in radians per position.
        factor: how many times longer texts may become.
        length: length of the texts that the unchanged frequencies were trained on.
        least: pairs with at most this many turns in `length` are divided by `factor`.
        most: pairs with at least this many turns are kept.

    Source: Peng et al. 2023 (YaRN), arXiv 2309.00071, section 3.2, "NTK-by-parts".

    >>> turn = 2 * math.pi / 8
    >>> (slowed_by_parts(turn * jnp.array([1.0, 2.0, 3.0]), 4.0, 8, 1.0, 3.0) / turn).tolist()
    [0.25, 1.25, 3.0]
    """
    turns = length * frequency / (2 * math.pi)
    kept = jnp.clip((turns - least) / (most - least), 0, 1)
    return frequency * (kept + (1 - kept) / factor)
