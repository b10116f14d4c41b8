"""The lightning indexer: a small attention of its own says which keys a query sees."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array

from attnkit.option_class import options
from attnkit.scored.best import Best, better, none_yet
from attnkit.scored.contract import Columns, Keep, Keys, Params, Queries, Row, Rows, Scores, Selection
from attnkit.scored.key_passes import FoldKeys
from attnkit.variant import Card, HeadShape, TokenInput

NOWHERE = 2**31 - 1


@options
class LightningIndexer(Selection):
    """Each query sees the `count` keys with the highest index among those that the mask allows.

    Of equal ones the earlier is taken; if fewer are allowed, all are. The index is made of token inputs of
    its own, the same for all heads, and a row remembers the positions of its keys. The choice carries no
    derivative: `deepseek_sparse` is the layer that trains the index, in others it stays as it starts.

    Attributes:
        heads: heads of the index.
        dim: width of its queries and of its key.
        count: keys that a query sees.
    """

    card: ClassVar[Card] = Card(
        source="DeepSeek-AI 2025 (DeepSeek-V3.2), arXiv 2512.02556, equations 1 and 2; a constant factor, "
        "which chooses nothing else, keeps the index near 1",
        equation="j is seen if I_ij = sum_h w_ih relu(q_ih . k_j) / sqrt(heads dim) is among the best",
        pair_flops="2 * heads * dim",
        assumes="a layer that trains the index",
    )
    checked_with: ClassVar[dict[str, int]] = {"heads": 2, "dim": 3, "count": 5}
    claims: ClassVar[tuple[str, ...]] = ("translation",)  # of equal keys the earlier
    uses_content: ClassVar[bool] = False
    heads: Annotated[int, Ge(1)] = 64
    dim: Annotated[int, Ge(1)] = 128
    count: Annotated[int, Ge(1)] = 2048

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return index_inputs(self.heads, self.dim)

    def row_statistics(self, fold_keys: FoldKeys, i: Rows, empty: Row, keys: int) -> Any:
        def add(best: Best, p: Params, q: Queries, k: Keys, keep: Keep, i: Rows, j: Columns) -> Best:
            return better(best, index(p, self.heads).astype(empty.dtype), keep, j)

        places = fold_keys(add, none_yet(empty, min(self.count, keys))).places
        return jnp.sort(jnp.where(places < 0, NOWHERE, places), axis=1)

    def select(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, stats: Array) -> Keep:
        # Positions, not scores, are compared: a score that is computed anew may differ in its last bit.
        at = jax.vmap(lambda row: jnp.searchsorted(row, j, method="scan_unrolled"))(stats)
        return jnp.take_along_axis(stats, jnp.minimum(at, stats.shape[1] - 1), axis=1) == j


def index_inputs(heads: int, dim: int) -> dict[str, TokenInput]:
    """Token inputs of the index."""
    return {
        "query": TokenInput(heads * dim, side="query", bias=0.0, shared=True),
        "weight": TokenInput(heads, side="query", bias=0.0, shared=True),
        "key": TokenInput(dim, bias=0.0, shared=True),
    }


def index(p: Params, heads: int) -> Scores:
    """`I`, in at least float32, from the inputs of a block."""
    q, w, k = p.query["query"], p.query["weight"], p.key["key"]
    wide = jnp.promote_types(q.dtype, jnp.float32)
    apart = q.reshape(q.shape[0], heads, k.shape[1])
    fit = jnp.einsum("ihd,jd->hij", apart, k, preferred_element_type=wide)
    return jnp.einsum("ih,hij->ij", w.astype(wide), jax.nn.relu(fit)) * float(q.shape[1] ** -0.5)
