"""The definition as dense matrices: the specification that every other form is checked against.

It shares nothing with the other forms but the functions of the variant's own parts.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.heads import HeadBlocks
from attnkit.forms.sizes import Sizes
from attnkit.masks.contract import Data
from attnkit.scored.block import Block, bind, mix_values
from attnkit.scored.contract import Scored, Selection


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Every variant."""
    return None


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""

    def one(block: Block) -> tuple[Array, Array]:
        w, lse = weights(variant, block)
        return mix_values(variant, block, w), lse

    return heads.run(one)


def weights(variant: Scored, block: Block) -> tuple[Array, Array]:
    """Weights `[queries, keys]` before dropout, and log-sum-exp or threshold `[queries]`, of one head."""
    return weights_of_scores(variant, block, scores(variant, block))


def weights_of_scores(variant: Scored, block: Block, s: Array) -> tuple[Array, Array]:
    """The same of given scores, which are -inf where a pair may not attend."""
    keep, finite = s != -jnp.inf, jnp.isfinite(s)
    p, j, bad = bind(block).normalizer, block.key.j, jnp.where(finite | ~keep, 0, jnp.nan).astype(s.dtype)
    w, lse = variant.normalizer.weights_of_rows(p, jnp.where(keep, s + bad, 0), keep, j)
    return jnp.where(keep, w + bad, 0), lse


def scores(variant: Scored, block: Block) -> Array:
    """Scores `[queries, keys]` as the normalizer sees them; -inf where a pair may not attend."""
    p, q, k, i, j = bind(block), block.query.q, block.key.k, block.query.i, block.key.j
    bad = block.query.nonfinite[:, None] + block.key.nonfinite
    keep = allowed(variant, block, p, jnp.isnan(bad))
    s = variant.score.score(p.score, q, k, i, j)
    for part, own in zip(variant.position, p.position, strict=True):
        bias = part.bias(own, q, k, i, j)
        s = s if bias is None else s + bias
    for part, own in zip(variant.position, p.position, strict=True):
        s = part.transform_logits(own, s, i, j)
    for part, own in zip(variant.position, p.position, strict=True):
        s, _ = part.scan_keys(own, q, k, s, keep, i, j, part.initial_carry(own, q))
    s = s if variant.cap is None else variant.cap * jnp.tanh(s / variant.cap)
    s = variant.normalizer.transform_capped_logits(p.normalizer, s, i, j).astype(bad.dtype)
    return jnp.where(keep, s + bad, -jnp.inf)


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
