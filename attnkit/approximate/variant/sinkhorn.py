"""Sparse Sinkhorn attention: a block of tokens meets itself and the block that is sorted to its place."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    Values,
    softmax,
)
from attnkit.approximate.sinkhorn_balance import sinkhorn_balance
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape, Kinds, MapKind


@options
class Sinkhorn(Approximate):
    """Softmax attention to the keys of the own block, and to those of one that a learned permutation picks.

    The permutation is a soft one: a matrix between blocks, made of the sum of each block's keys and made
    doubly stochastic by Sinkhorn's iteration; the block that comes to a place is a mixture. Both blocks share
    one softmax, as in lucidrains/sinkhorn-transformer; the authors' code for Long Range Arena adds the
    outputs of two. The paper's Gumbel noise on the matrix is left out, as that code does with `sinkhorn`. A
    sequence of one block is treated exactly.

    There is no causal form: balancing a column sums over later blocks (the authors' code says that its causal
    balancing is to be verified, and lucidrains has a softmax in its stead).

    Attributes:
        block: tokens of a block.
        length: largest number of tokens.
        steps: normalizations of rows and of columns, of each as many.
        temperature: divides the matrix before it is balanced.
    """

    card: ClassVar[Card] = Card(
        source="Tay et al. 2020 (Sparse Sinkhorn Attention), arXiv 2002.11296, as in "
        "lucidrains/sinkhorn-transformer, with the sorting network of google-research/long-range-arena",
        equation="o_i = softmax(q_i [P K]_u^T, q_i K_u^T) [[P V]_u, V_u], u = block(i), P = sinkhorn(R / "
        "temperature), R_u = W sum_{j in u} k_j + b, scores / sqrt(dim)",
        sequence_flops="8 * length * block * dim + 4 * length * length * dim / block",
        assumes="tokens that the last block lacks count as zeros where it is sorted to another place",
    )
    budget: ClassVar[str] = "block"
    checked_with: ClassVar[dict[str, int]] = {"block": 3}
    kinds: ClassVar[Kinds] = {"sort": "weight", "bias": "bias"}
    block: Annotated[int, Ge(1)] = 64
    length: Annotated[int, Ge(1)] = 512
    steps: Annotated[int, Ge(1)] = 8
    temperature: Annotated[float, Gt(0)] = 0.75

    def map_kind(self) -> MapKind:
        return "share"

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        blocks = -(-self.length // self.block)
        sort = jax.random.normal(key, (shape.heads, shape.dim, blocks)) * shape.dim**-0.5
        return {"sort": sort, "bias": jnp.zeros((shape.heads, blocks))}

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        tokens, size = k.shape[0], self.block
        self.check_length(tokens)
        blocks = -(-tokens // size)
        q, k, v = (
            jnp.pad(a, ((0, blocks * size - tokens), (0, 0))).reshape(blocks, size, -1) for a in (q, k, v)
        )
        wanted = (jnp.sum(k, axis=1) @ p["sort"][:, :blocks] + p["bias"][:blocks]) / self.temperature
        moved = sinkhorn_balance(wanted, jnp.arange(blocks) * size < length, 2 * self.steps)
        k, v = (jnp.concatenate([jnp.einsum("uw,wtd->utd", moved, a), a], axis=1) for a in (k, v))
        real = jnp.arange(blocks * size).reshape(blocks, size) < length
        # Of blocks that hold a token all but the last are whole: a place that the first one has exists.
        seen = jnp.concatenate([jnp.broadcast_to(real[0], real.shape), real], axis=1)
        scores = jnp.einsum("uid,ujd->uij", q, k) * q.shape[2] ** -0.5
        w = jax.vmap(softmax)(scores, jnp.broadcast_to(seen[:, None, :], scores.shape))
        return jnp.einsum("uij,ujd->uid", w, v).reshape(blocks * size, -1)[:tokens]
