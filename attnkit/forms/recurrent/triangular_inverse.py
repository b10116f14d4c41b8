"""The inverse of a unit lower triangular matrix, by blocks: matrix products in place of a loop over rows."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnkit.forms.recurrent.decay import exact_einsum, pairs, quarters

SUBSTITUTED = 8  # rows that are solved one after the other


@jax.custom_jvp
def inverse(below: Float[Array, "... n n"]) -> Float[Array, "... n n"]:
    """`(I + below)^{-1}` for strictly lower triangular `below` whose size `n` is a power of two.

    Blocks of 8 on the diagonal are inverted by forward substitution, then neighbors are joined:
    `[[A, 0], [C, B]]^{-1} = [[A^{-1}, 0], [-B^{-1} C A^{-1}, B^{-1}]]`. All blocks at once:
    a library's triangular solve takes one small matrix after the other.
    """
    n = below.shape[-1]
    size = min(SUBSTITUTED, n)
    result = substitute(diagonal_blocks(below, size))
    while size < n:
        left, right = pairs(result)
        corner = diagonal_blocks(below, 2 * size)[..., size:, :size]
        result = quarters(result, -exact_einsum("...ab,...bc,...cd->...ad", right, corner, left))
        size *= 2
    return result[..., 0, :, :]


@inverse.defjvp
def inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """`dX = -X dA X`."""
    x = inverse(*primals)
    return x, -exact_einsum("...ab,...bc,...cd->...ad", x, jnp.tril(tangents[0], -1), x)


def diagonal_blocks(a: Float[Array, "... n n"], size: int) -> Float[Array, "... blocks size size"]:
    """The square blocks on the diagonal."""
    count = a.shape[-1] // size
    cut = a.reshape(*a.shape[:-2], count, size, count, size)
    return jnp.stack([cut[..., n, :, n, :] for n in range(count)], axis=-3)


def substitute(below: Float[Array, "... n n"]) -> Float[Array, "... n n"]:
    """`(I + below)^{-1}` of small matrices, row by row; side by side, for one operation on all of them."""
    n = below.shape[-1]
    flat = jnp.moveaxis(below.reshape(-1, n, n), 0, -1)
    rows: list[Array] = []
    for t, unit in enumerate(np.eye(n, dtype=below.dtype)):
        row = jnp.broadcast_to(unit[:, None], flat.shape[1:])
        if rows:
            row = row - jnp.sum(flat[t, :t, None] * jnp.stack(rows), axis=0)
        rows.append(row)
    return jnp.moveaxis(jnp.stack(rows), -1, 0).reshape(below.shape)
