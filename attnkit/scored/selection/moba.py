"""Mixture of block attention."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keep, Keys, Params, Queries, Row, Rows, Selection, dot
from attnkit.scored.key_passes import FoldKeys
from attnkit.variant import Card


@options
class Moba(Selection):
    """Each query sees the `count` blocks of `size` keys whose mean key fits it best, its own among them.

    Means are of the keys that the query may see; its own block is always one of the `count`. Blocks are
    compared by prepared queries and keys, positions included. A row remembers a bit for each block.

    Attributes:
        size: keys in a block, numbered from position 0.
        count: blocks that a query sees.
    """

    card: ClassVar[Card] = Card(
        source="Lu et al. 2025 (MoBA), arXiv 2502.13189, equations 2 to 6, and the authors' code",
        equation="j is seen if block(j) = block(i) or q_i . mean_{l in block(j)} k_l is among the best",
        pair_flops="2 * dim + 2 * length / size",
        assumes="causal self-attention",
    )
    claims: ClassVar[tuple[str, ...]] = ()
    checked_with: ClassVar[dict[str, int]] = {"size": 3, "count": 2}
    size: Annotated[int, Ge(1)] = 512
    count: Annotated[int, Ge(1)] = 3

    def row_statistics(self, fold_keys: FoldKeys, i: Rows, empty: Row, keys: int) -> Any:
        blocks = -(-keys // self.size)
        none = jnp.zeros((empty.shape[0], blocks), empty.dtype)

        def add(state: Any, p: Params, q: Queries, k: Keys, keep: Keep, i: Rows, j: Columns) -> Any:
            member = (j[:, None] // self.size == jnp.arange(blocks)).astype(empty.dtype)
            fit = jnp.where(keep, dot(q, k), 0).astype(empty.dtype)
            return state[0] + fit @ member, state[1] + keep.astype(empty.dtype) @ member

        total, seen = fold_keys(add, (none, none))
        fit = jnp.where(seen > 0, total / jnp.maximum(seen, 1), -jnp.inf)
        own = i[:, None] // self.size == jnp.arange(blocks)
        best, place = jax.lax.top_k(jnp.where(own, jnp.inf, fit), min(self.count, blocks))
        return jnp.any((place[:, :, None] == jnp.arange(blocks)) & (best > -jnp.inf)[:, :, None], axis=1)

    def select(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, stats: Array) -> Keep:
        return jnp.take(stats, j // self.size, axis=1)
