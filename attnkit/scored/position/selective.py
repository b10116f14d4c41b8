"""Selective attention."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from attnkit.option_class import options
from attnkit.scored.contract import (
    Columns,
    Keep,
    Keys,
    Params,
    Position,
    Queries,
    Row,
    Rows,
    Scores,
    dot,
)
from attnkit.scored.gather_heads import gather_heads
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Selective(Position):
    """Every token says which tokens before it are no longer needed, and later queries hold it against them.

    A token says so with a query of its own, `judge`, and the keys of head 0. In the paper `judge` is the
    query of head 0, which saves its projection; here it is a token input, because decoding keeps the inputs
    of past tokens but not their queries. The key at position 0 and a token's own are never held against.
    Only tokens that the query may see, about keys that it may see, have a say.

    A key's burden is a sum over all tokens after it, so all keys must be in one block: there is no
    computation by blocks of keys, and a query costs a product of keys x keys.
    """

    card: ClassVar[Card] = Card(
        source="Leviathan, Kalman & Matias 2024, arXiv 2410.02703, and its listing",
        equation="s_ij <- s_ij - sum_{j<l<i} max(u_l . k_j / sqrt(dim), 0), j > 0, u and k of head 0",
        pair_flops="2 * length",
        assumes="causal self-attention",
    )
    needs_all_keys: ClassVar[bool] = True
    mixes_heads: ClassVar[bool] = True

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"judge": TokenInput(shape.dim, bias=0.0)}

    def scan_keys(
        self, p: Params, q: Queries, k: Keys, s: Scores, keep: Keep, i: Rows, j: Columns, carry: Row
    ) -> tuple[Scores, Row]:
        judge, k = (gather_heads(rows)[0].astype(s.dtype) for rows in (p.key["judge"], k))
        bad = ~jnp.all(jnp.isfinite(judge), axis=1)
        judge = jnp.where(bad[:, None], 0, judge)
        counts = (j[:, None] > j[None, :]) & (j > 0)[None, :]
        burden = jnp.where(counts, jax.nn.relu(dot(judge, k)) * k.shape[1] ** -0.5, 0)
        speaks = keep & (j[None, :] < i[:, None])
        lost = jnp.where(jnp.any(speaks & bad[None, :], axis=1), jnp.nan, 0)
        return s - speaks.astype(s.dtype) @ burden + lost[:, None], carry
