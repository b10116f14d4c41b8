"""The definition as dense matrices: the specification that every other form is checked against.

It shares with the other forms the functions of the variant's own parts (called through `on_allowed`), the
queries, keys and values that they get (`forms.heads`) and the random bits of dropout; nothing of blocks,
masks, order, selections, thresholds and sums.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.sizes import Sizes
from attnkit.masks.contract import Data
from attnkit.scored.block import Block, HeadBlocks, bind, survives
from attnkit.scored.contract import Scored, Selection
from attnkit.scored.domain import OF_SCORES, OF_TOKENS, expect_pairs, on_allowed


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Every variant."""
    return None


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""

    def one(block: Block) -> tuple[Array, Array]:
        w, lse = normalized(variant, block)
        if block.shared.dropout_seed is not None:
            survive = survives(block.shared.dropout_seed, variant.dropout, block.query.i, block.key.j)
            w = w * survive / (1 - variant.dropout)
        return mixed(variant, block, transformed(variant, block, w)), lse

    return heads.run(one)


def mixed(variant: Scored, block: Block, w: Array) -> Array:
    """The output `[queries, value_dim]` of one head for weights as `weights` gives them. Linear in them."""
    v = block.key.v
    # In low precision weights and values meet in the type of the values, and sum up in that of the weights.
    o: Array = jnp.matmul(w.astype(v.dtype), v, preferred_element_type=w.dtype)
    for part, own in zip(variant.position, bind(block).position, strict=True):
        more = part.value(own, w, block.query.i, block.key.j)
        o = o if more is None else o + more
    return o


def weights(variant: Scored, block: Block, s: Array | None = None) -> Array:
    """Weights `[queries, keys]` as values are mixed with them, without dropout, of one head.

    Those of other scores if `s` is given: as `scores` gives them, -inf where a pair may not attend.
    """
    s, keep = allowed_scores(variant, block) if s is None else (s, s != -jnp.inf)
    return transformed(variant, block, of_scores(variant, block, s, keep)[0])


def transformed(variant: Scored, block: Block, w: Array) -> Array:
    """Weights after the position parts have changed them."""
    for part, own in zip(variant.position, bind(block).position, strict=True):
        w = part.transform_weights(own, w, block.query.q, block.query.i, block.key.j)
    return w


def normalized(variant: Scored, block: Block) -> tuple[Array, Array]:
    """Normalized scores `[queries, keys]`, and log-sum-exp or threshold `[queries]`, of one head."""
    return of_scores(variant, block, *allowed_scores(variant, block))


def of_scores(variant: Scored, block: Block, s: Array, keep: Array) -> tuple[Array, Array]:
    """`normalized`, of given scores of the pairs in `keep`."""
    p, bad = bind(block).normalizer, jnp.where(jnp.isnan(s), jnp.nan, 0).astype(s.dtype)
    w, lse = variant.normalizer.weights_of_rows(p, jnp.where(keep, s, 0), keep, block.key.j)
    return jnp.where(keep, w + bad, 0), lse


def scores(variant: Scored, block: Block) -> Array:
    """Scores `[queries, keys]` as the normalizer gets them, of one head; -inf where a pair may not attend."""
    s, keep = allowed_scores(variant, block)
    return jnp.where(keep, s, -jnp.inf)


def allowed_scores(variant: Scored, block: Block) -> tuple[Array, Array]:
    """Scores `[queries, keys]` of one head, and the pairs that may attend; others mean nothing."""
    p, q, k, i, j = bind(block), block.query.q, block.key.k, block.query.i, block.key.j
    bad = block.query.nonfinite[:, None] + block.key.nonfinite
    keep = allowed(variant, block, p, jnp.isnan(bad))
    pairs, score, normalizer = (len(i), len(j)), variant.score, variant.normalizer
    s = on_allowed(score.score, keep, OF_TOKENS)(p.score, q, k, i, j)
    s = expect_pairs(score.score, s, pairs)
    for part, own in zip(variant.position, p.position, strict=True):
        bias = on_allowed(part.bias, keep, OF_TOKENS)(own, q, k, i, j)
        s = s if bias is None else s + expect_pairs(part.bias, bias, pairs)
    for part, own in zip(variant.position, p.position, strict=True):
        s = on_allowed(part.transform_logits, keep, OF_SCORES)(own, s, i, j)
        s = expect_pairs(part.transform_logits, s, pairs)
    for part, own in zip(variant.position, p.position, strict=True):
        s, _ = part.scan_keys(own, q, k, s, keep, i, j, part.initial_carry(own, q))
    s = s if variant.cap is None else variant.cap * jnp.tanh(s / variant.cap)
    s = on_allowed(normalizer.transform_capped_logits, keep, OF_SCORES)(p.normalizer, s, i, j)
    s = expect_pairs(normalizer.transform_capped_logits, s, pairs)
    return s.astype(bad.dtype) + bad, keep


def allowed(variant: Scored, block: Block, p: Any, bad: Array) -> Array:
    """Pairs that the mask and the selections allow; pairs that are `bad` cannot be compared, so they stay."""
    query, key = block.query, block.key
    data = Data(query=query.data, key=key.data, scalar=block.shared.data, head=block.shared.head).over_pairs()
    keep = variant.mask.allows(query.i[:, None], key.j[None, :], data)
    keep = jnp.broadcast_to(keep, bad.shape) if key.exists is None else keep & key.exists
    p, q, k = jax.lax.stop_gradient((p, query.q, key.k))
    given, positions = (q, k, query.i, key.j), zip(variant.position, p.position, strict=True)
    for part, own in positions:
        if isinstance(part, Selection):
            keep = keep & (part.select(own, *given, ()) | bad)
    found = []
    for selection, own in zip(variant.selection, p.selection, strict=True):

        def fold_keys(step: Any, start: Any, own: Any = own) -> Any:
            return step(start, own, q, k, keep, query.i, key.j)

        stats = selection.row_statistics(fold_keys, query.i, jnp.zeros_like(query.nonfinite), key.j.size)
        found.append(selection.select(own, *given, stats) | bad)
    for one in found:
        keep = keep & one
    return keep
