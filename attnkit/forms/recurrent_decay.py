"""Products of queries and keys that fade with what lies between them, without a positive exponent.

What is left of token `s` at token `t > s` is `exp(g_{s+1} + ... + g_t)`. Differences of running sums would
lose digits (and be `inf - inf` where everything is forgotten), and products of separate exponentials
overflow. Here every exponent is a sum of gates, never a difference of sums, and so at most 0. Pairs of
tokens in neighboring blocks meet at the border between them: what follows `s` in its block, plus what leads
to `t` in the next one.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

exact_einsum = functools.partial(jnp.einsum, precision="highest")
LEAST = -1e30
PAIRED = 8  # tokens whose pairs are computed lag by lag, or rows inverted one by one
SUMMED = 32


def since(g: Float[Array, "... tokens fading"], before: bool = False) -> Float[Array, "... tokens fading"]:
    """Sums of gates up to and including each token, or up to but without it."""
    count = g.shape[-2]
    return exact_einsum("tr,...rd->...td", np.tri(count, k=-before).astype(g.dtype), g)


def until(g: Float[Array, "... tokens fading"]) -> Float[Array, "... tokens fading"]:
    """Sums of the gates that follow each token."""
    count = g.shape[-2]
    return exact_einsum("tr,...rd->...td", np.tri(count, k=-1).T.astype(g.dtype), g)


def lagged_products(
    rows: Float[Array, "... tokens dim"],
    columns: Float[Array, "... tokens dim"],
    g: Float[Array, "... tokens dim"],
    before: bool,
) -> Float[Array, "... tokens tokens"]:
    """`faded_products` of a few tokens: all pairs that are one token apart, then two, and so on.

    A lag at a time, no array is larger than the inputs, and sums run along `dim`.
    """
    count = g.shape[-2]
    lags = [jnp.sum(rows * columns, axis=-1)]
    between = jnp.zeros_like(g)  # of the tokens after s up to t, or (before) up to but without t
    for lag in range(1, count):
        if before:
            between = between[..., 1:, :] if lag == 1 else between[..., :-1, :] + g[..., lag - 1 : -1, :]
        else:
            between = between[..., :-1, :] + g[..., lag:, :]
        faded = rows[..., lag:, :] * jnp.exp(between)
        product = exact_einsum("...td,...td->...t", faded, columns[..., :-lag, :])
        lags.append(jnp.pad(product, [(0, 0)] * (product.ndim - 1) + [(lag, 0)]))
    return skewed(jnp.stack(lags[::-1], axis=-1))


def skewed(a: Float[Array, "... tokens lags"]) -> Float[Array, "... tokens tokens"]:
    """Entry `[t, s]` is `a[t, n - 1 - (t - s)]` for `s <= t`, else 0: row by row one place further left."""
    n = a.shape[-1]
    none = [(0, 0)] * (a.ndim - 1)
    flat = jnp.pad(a, [*none, (0, n - 1)]).reshape(*a.shape[:-2], n * (2 * n - 1))
    rows = flat[..., n - 1 : n - 1 + n * (2 * n - 2)] if n > 1 else flat
    return rows.reshape(*a.shape[:-2], n, max(2 * n - 2, 1))[..., :n]


def retained(g: Float[Array, "... tokens"], before: bool = False) -> Float[Array, "... tokens tokens"]:
    """What is left of the token of each column at the token of each row; 1 on it. Above it of no meaning.

    Args:
        g: gates.
        before: whether the row's own gate is left out.
    """
    size = min(SUMMED, g.shape[-1])
    place = np.arange(size)
    t, s, r = place[:, None, None], place[None, :, None], place[None, None, :]
    between = ((s < r) & (r <= t - before)).astype(g.dtype)
    result = jnp.exp(exact_einsum("tsr,...r->...ts", between, g.reshape(*g.shape[:-1], -1, size)))
    while size < g.shape[-1]:
        own = blocks(g[..., None], size)
        left, right = pairs(until(own))[0], pairs(since(own, before))[1]
        result = quarters(result, jnp.exp(right + jnp.swapaxes(left, -1, -2)))
        size *= 2
    return result[..., 0, :, :]


def blocks(a: Float[Array, "... tokens dim"], size: int) -> Float[Array, "... blocks size dim"]:
    """Runs of `size` tokens."""
    return a.reshape(*a.shape[:-2], -1, size, a.shape[-1])


def pairs(a: Float[Array, "... blocks rows columns"]) -> tuple[Array, Array]:
    """The left and the right one of each two neighboring blocks."""
    two = a.reshape(*a.shape[:-3], -1, 2, *a.shape[-2:])
    return two[..., 0, :, :], two[..., 1, :, :]


def quarters(diagonal: Float[Array, "... blocks n n"], corner: Float[Array, "... pairs n n"]) -> Array:
    """Lower triangular blocks, two and two joined by what is below the first to blocks of twice the size."""
    first, second = pairs(diagonal)
    upper = jnp.concatenate([first, jnp.zeros_like(corner)], axis=-1)
    return jnp.concatenate([upper, jnp.concatenate([corner, second], axis=-1)], axis=-2)


def faded_products(
    rows: Float[Array, "... tokens dim"],
    columns: Float[Array, "... tokens dim"],
    g: Float[Array, "... tokens fading"] | None,
    before: bool = False,
) -> Float[Array, "... tokens tokens"]:
    """`sum_d rows_td columns_sd exp(g_{s+1,d} + .. + g_td)` for `s <= t`; else anything.

    Args:
        rows: vectors of the tokens that read. Their number is a power of two.
        columns: vectors of the tokens that wrote.
        g: finite gates, one for each of the `dim` entries or one for all; `None` for no fading.
        before: whether the reading token's own gate is left out; the diagonal is then of no meaning.
    """
    if g is None:
        return exact_einsum("...td,...sd->...ts", rows, columns)
    if g.shape[-1] == 1:
        return exact_einsum("...td,...sd->...ts", rows, columns) * retained(g[..., 0], before)
    size = min(PAIRED, g.shape[-2])
    result = lagged_products(blocks(rows, size), blocks(columns, size), blocks(g, size), before)
    while size < g.shape[-2]:
        r, c, own = (blocks(a, size) for a in (rows, columns, g))
        left, right = pairs(c * jnp.exp(until(own)))[0], pairs(r * jnp.exp(since(own, before)))[1]
        result = quarters(result, exact_einsum("...td,...sd->...ts", right, left))
        size *= 2
    return result[..., 0, :, :]
