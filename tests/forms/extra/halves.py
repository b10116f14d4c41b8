"""Attention in two halves of the queries, each by the definition."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.scored import reference
from attnkit.forms.sizes import Sizes
from attnkit.scored.block import Block, HeadBlocks, mix_values
from attnkit.scored.contract import Scored


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Variants whose queries do not depend on each other, of two queries or more."""
    if variant.normalizer.axis == "queries":
        return f"{type(variant.normalizer).__name__}: queries compete, so they cannot be separated"
    return "one query has no halves" if sizes.queries < 2 else None


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""

    def one(block: Block) -> tuple[Array, Array]:
        found = []
        for rows in (slice(0, sizes.queries // 2), slice(sizes.queries // 2, None)):
            half = Block(block.shared, jax.tree.map(lambda a, rows=rows: a[rows], block.query), block.key)
            w, lse = reference.normalized(variant, half)
            found.append((mix_values(variant, half, w), lse))
        return jax.tree.map(lambda *halves: jnp.concatenate(halves), *found)

    return heads.run(one)
