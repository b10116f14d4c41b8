"""Products of queries and keys with the decay between them, without a positive exponent.

The decay from token `s` to token `t > s` is `exp(g_{s+1} + ... + g_t)`. Differences of running sums would
lose digits (and be `inf - inf` where a gate is -inf), and products of separate exponentials
overflow. Here every exponent is a sum of gates, never a difference of sums, and so at most 0. Where each
entry has its own gate, few tokens are taken one after the other; for tokens in neighboring blocks the decay
is split at the border: from `s` to the end of its block, and from there to `t`.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

exact_einsum = functools.partial(jnp.einsum, precision="highest")
LEAST = -1e30
PAIRED = 8  # tokens that are taken one after the other where every entry has a gate of its own
SUMMED = 64


class Decayed(NamedTuple):
    """Vectors of a chunk's tokens, decayed to other places of the chunk.

    Attributes:
        pairs: `sum_d rows_td columns_sd exp(g_{s+1,d} + .. + g_td)` of each kind of row with each kind of
            column, for `s <= t`; undefined elsewhere.
        rows: decayed from the beginning of the chunk.
        columns: decayed to its end.
        kept: decay over the whole chunk.
    """

    pairs: list[list[Float[Array, "... tokens tokens"]]]
    rows: list[Float[Array, "... tokens dim"]]
    columns: list[Float[Array, "... tokens dim"]]
    kept: Float[Array, "... decays"]


def decay_products(
    rows: Sequence[Float[Array, "... tokens dim"]],
    columns: Sequence[Float[Array, "... tokens dim"]],
    g: Float[Array, "... tokens decays"] | None,
    before: Sequence[bool],
) -> Decayed:
    """Pairwise products and decayed vectors of a chunk.

    Args:
        rows: vectors of the tokens that read, of one or more kinds. The number of tokens is a power of two.
        columns: vectors of the tokens that wrote.
        g: finite gates, one for each of the `dim` entries or one for all; `None` for no decay.
        before: of each kind of row, whether the reading token's own gate is left out; the diagonal of its
            products is then undefined.
    """
    if g is not None and g.shape[-1] > 1:
        return by_entry(rows, columns, g, before)
    pairs = [[exact_einsum("...td,...sd->...ts", r, c) for c in columns] for r in rows]
    if g is None:
        return Decayed(pairs, list(rows), list(columns), jnp.ones_like(columns[0][..., 0, :1]))
    left = {without: pairwise_decay(g[..., 0], without) for without in set(before)}
    return Decayed(
        [[p * left[without] for p in kind] for kind, without in zip(pairs, before, strict=True)],
        [r * jnp.exp(since(g, without)) for r, without in zip(rows, before, strict=True)],
        [c * jnp.exp(until(g)) for c in columns],
        jnp.exp(jnp.sum(g, axis=-2)),
    )


def since(g: Float[Array, "... tokens decays"], before: bool = False) -> Float[Array, "... tokens decays"]:
    """Sums of gates up to and including each token, or up to but without it."""
    count = g.shape[-2]
    return exact_einsum("tr,...rd->...td", np.tri(count, k=-before).astype(g.dtype), g)


def until(g: Float[Array, "... tokens decays"]) -> Float[Array, "... tokens decays"]:
    """Sums of the gates that follow each token."""
    count = g.shape[-2]
    return exact_einsum("tr,...rd->...td", np.tri(count, k=-1).T.astype(g.dtype), g)


def pairwise_decay(g: Float[Array, "... tokens"], before: bool = False) -> Float[Array, "... tokens tokens"]:
    """Pairwise decay `exp(sum g)` from each column's token to each row's; upper triangle undefined.

    Args:
        g: gates.
        before: whether the row's own gate is left out.
    """
    size = min(SUMMED, g.shape[-1])
    place = np.arange(size)
    r, t, s = place[:, None, None], place[None, :, None], place[None, None, :]
    between = ((s < r) & (r <= t - before)).astype(g.dtype)
    result = jnp.exp(exact_einsum("...r,rts->...ts", g.reshape(*g.shape[:-1], -1, size), between))
    while size < g.shape[-1]:
        own = blocks(g[..., None], size)
        left, right = pairs(until(own))[0], pairs(since(own, before))[1]
        result = quarters(result, jnp.exp(right + jnp.swapaxes(left, -1, -2)))
        size *= 2
    return result[..., 0, :, :]


def by_entry(
    rows: Sequence[Float[Array, "... tokens dim"]],
    columns: Sequence[Float[Array, "... tokens dim"]],
    g: Float[Array, "... tokens dim"],
    before: Sequence[bool],
) -> Decayed:
    """`decay_products` with gates for each entry: token by token in small blocks, then block by block.

    All chunks' blocks lie along one axis: with heads and a batch in front, XLA's reductions on CPUs crash at
    seven axes and more (jaxlib 0.10).
    """
    outside, count, size = g.shape[:-2], g.shape[-2], min(PAIRED, g.shape[-2])
    rows, columns, g = jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), (list(rows), list(columns), g))
    rows, columns = ([blocks(a, size) for a in some] for some in (rows, columns))
    own = blocks(g, size)
    found, rows, columns = token_by_token(rows, columns, jnp.exp(own), before)
    total = jnp.sum(own, axis=-2, keepdims=True)
    lead, follow = jnp.ones_like(total), jnp.ones_like(total)
    while size < count:
        right = [pairs(joined(r * lead, size))[1] for r in rows]
        left = [pairs(joined(c * follow, size))[0] for c in columns]
        found = [
            [quarters(p, exact_einsum("...td,...sd->...ts", r, c)) for p, c in zip(kind, left, strict=True)]
            for kind, r in zip(found, right, strict=True)
        ]
        first, second = pairs(total)
        lead = beside(lead, jnp.ones_like(first), jnp.exp(first))
        follow = beside(follow, jnp.exp(second), jnp.ones_like(second))
        total, size = first + second, 2 * size
    decayed = Decayed(
        found,
        [joined(r * lead, count) for r in rows],
        [joined(c * follow, count) for c in columns],
        jnp.exp(total)[:, 0],
    )
    shaped: Decayed = jax.tree.map(lambda a: a.reshape(*outside, *a.shape[1:]), decayed)
    return shaped


def token_by_token(
    rows: Sequence[Float[Array, "... tokens dim"]],
    columns: Sequence[Float[Array, "... tokens dim"]],
    left: Float[Array, "... tokens dim"],
    before: Sequence[bool],
) -> tuple[list[list[Array]], list[Array], list[Array]]:
    """Products, rows and columns as in `Decayed`, of few tokens. `left` is the decay by each token."""
    count = left.shape[-2]
    single = functools.partial(jnp.split, indices_or_sections=count, axis=-2)
    tokens = zip(*(single(a) for a in (left, *rows, *columns)), strict=True)
    products: list[list[list[Array]]] = [[[] for _ in columns] for _ in rows]
    decayed, past = [c[..., :0, :] for c in columns], [jnp.ones_like(left[..., :1, :])]
    for keep, *vectors in tokens:
        reading, new = vectors[: len(rows)], vectors[len(rows) :]
        undecayed = [jnp.concatenate([f, n], axis=-2) for f, n in zip(decayed, new, strict=True)]
        decayed = [jnp.concatenate([f * keep, n], axis=-2) for f, n in zip(decayed, new, strict=True)]
        past.append(past[-1] * keep)
        for kind, r, without in zip(products, reading, before, strict=True):
            for line, column in zip(kind, undecayed if without else decayed, strict=True):
                line.append(jnp.sum(r * column, axis=-1))
    none = [(0, 0)] * (left.ndim - 2)
    whole = [
        [jnp.stack([jnp.pad(a, [*none, (0, count - a.shape[-1])]) for a in line], axis=-2) for line in kind]
        for kind in products
    ]
    ways = {
        without: jnp.concatenate(past[1 - without : count + 1 - without], axis=-2) for without in {*before}
    }
    return whole, [r * ways[without] for r, without in zip(rows, before, strict=True)], decayed


def blocks(a: Float[Array, "... tokens dim"], size: int) -> Float[Array, "... blocks size dim"]:
    """Runs of `size` tokens."""
    return a.reshape(*a.shape[:-2], -1, size, a.shape[-1])


def joined(a: Float[Array, "... blocks tokens dim"], size: int) -> Float[Array, "... runs size dim"]:
    """Runs of `size` tokens, from shorter ones."""
    return a.reshape(*a.shape[:-3], -1, size, a.shape[-1])


def beside(
    a: Float[Array, "... blocks 1 dim"], first: Float[Array, "... pairs 1 dim"], second: Array
) -> Float[Array, "... blocks 1 dim"]:
    """The first and the second half of each of a few equal runs of blocks, each times its factor."""
    factors = jnp.concatenate([first, second], axis=-2)
    split = a.reshape(*factors.shape[:-1], -1, a.shape[-1])
    return (split * factors[..., None, :]).reshape(a.shape)


def pairs(a: Float[Array, "... blocks rows columns"]) -> tuple[Array, Array]:
    """The left and the right one of each two neighboring blocks."""
    two = a.reshape(*a.shape[:-3], -1, 2, *a.shape[-2:])
    return two[..., 0, :, :], two[..., 1, :, :]


def quarters(diagonal: Float[Array, "... blocks n n"], corner: Float[Array, "... pairs n n"]) -> Array:
    """Lower triangular blocks, joined in pairs to blocks of twice the size, with `corner` below the first."""
    first, second = pairs(diagonal)
    upper = jnp.concatenate([first, jnp.zeros_like(corner)], axis=-1)
    return jnp.concatenate([upper, jnp.concatenate([corner, second], axis=-1)], axis=-2)
