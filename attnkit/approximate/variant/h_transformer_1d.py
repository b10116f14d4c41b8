"""H-Transformer-1D: near tokens exactly, far tokens as means of 2, 4, 8 ..."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    Values,
    divide,
)
from attnkit.option_class import options
from attnkit.variant import Card, MapKind


@options
class HTransformer1d(Approximate):
    """Softmax attention whose matrix is coarser the farther a pair is apart.

    A token meets those of its own block and of the blocks beside it as they are. At every following level
    tokens are averaged in pairs, a block of as many means reaches twice as far, and only what nearer levels
    left out is computed. A sequence of at most two blocks is treated exactly. There is no causal form here: a
    query averaged with later ones carries them into the past.

    Attributes:
        block: tokens of a block, an even number; the paper's rank N_r.
    """

    card: ClassVar[Card] = Card(
        source="Zhu and Soricut 2021 (H-Transformer-1D), arXiv 2107.11906",
        equation="w_ij ~ exp(q_i^l . k_j^l / sqrt(dim)), q^l, k^l means over 2^l tokens, l the first "
        "level at which i and j are in the same or in neighboring blocks",
        sequence_flops="20 * length * block * dim",
        assumes="means are over tokens that exist; a mean counts as often as it has tokens",
    )
    budget: ClassVar[str] = "block"
    block: Annotated[int, Ge(2)] = 16

    def map_kind(self) -> MapKind:
        return "share"

    def __post_init__(self) -> None:
        if self.block % 2:
            raise ValueError(f"block = {self.block} must be even: a half block at one level is a block below")

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        tokens, size = k.shape[0], self.block
        blocks = 1 << max(1, (-(-tokens // size) - 1).bit_length())
        spare = blocks * size - tokens
        q, k, v = (jnp.pad(a, ((0, spare), (0, 0))) for a in (q * q.shape[1] ** -0.5, k, v))
        count = (jnp.arange(len(k)) < length).astype(v.dtype)
        v = jnp.concatenate([v, count[:, None]], axis=1)
        levels, repeat = [], 1
        while True:
            found = near(q, k, v, count, size, coarse=repeat > 1)
            levels.append(tuple(jnp.repeat(a, repeat, axis=0)[:tokens] for a in found))
            if len(q) == 2 * size:
                break
            q, k = pair_means(q, count), pair_means(k, count)
            v, count, repeat = v[::2] + v[1::2], count[::2] + count[1::2], 2 * repeat
        top = jax.lax.stop_gradient(jnp.max(jnp.stack([t for t, _ in levels]), axis=0))
        base = jnp.where(top > -jnp.inf, top, 0)
        sums = jnp.sum(jnp.stack([jnp.exp(t - base)[:, None] * s for t, s in levels]), axis=0)
        return divide(sums[:, :-1], sums[:, -1])


def pair_means(x: Float[Array, "rows dim"], count: Float[Array, "rows"]) -> Float[Array, "half dim"]:
    """Means of neighbors, each as much as the tokens it stands for."""
    total = count[::2] + count[1::2]
    x = x * count[:, None]
    return (x[::2] + x[1::2]) / jnp.maximum(total, 1)[:, None]


def near(
    q: Queries, k: Keys, v: Values, count: Float[Array, "keys"], size: int, coarse: bool
) -> tuple[Array, Array]:
    """Of each row, the logarithm of a scale and the scaled sum of `exp(q . k) v` over the neighboring blocks.

    At a coarse level without the own block and without what the level below has: the half of each block
    beside the other.
    """
    rows = q.reshape(-1, size, q.shape[1])

    def around(a: Array) -> Array:
        blocks = a.reshape(-1, size, *a.shape[1:])
        edge = jnp.zeros_like(blocks[:1])
        before, after = jnp.concatenate([edge, blocks[:-1]]), jnp.concatenate([blocks[1:], edge])
        return jnp.concatenate([before, blocks, after], axis=1)

    late, half = jnp.arange(size) >= size // 2, size // 2
    keep = jnp.ones((size, 3 * size), bool)
    if coarse:
        before = late[:, None] | (jnp.arange(size) < half)
        after = ~late[:, None] | (jnp.arange(size) >= half)
        keep = jnp.concatenate([before, jnp.zeros((size, size), bool), after], axis=1)
    keep = keep & (around(count) > 0)[:, None, :]
    scores = jnp.where(keep, jnp.einsum("bid,bjd->bij", rows, around(k)), -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(scores, axis=2))
    share = jnp.exp(scores - jnp.where(top > -jnp.inf, top, 0)[:, :, None])
    return top.reshape(-1), jnp.einsum("bij,bjd->bid", share, around(v)).reshape(len(q), -1)
