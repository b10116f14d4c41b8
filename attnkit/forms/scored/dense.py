"""Attention as one block of all pairs: the weights are kept for the backward pass."""

import dataclasses

from jaxtyping import Array

from attnkit.forms.block_mask import BlockMask
from attnkit.forms.scored import blockwise
from attnkit.forms.sizes import Sizes
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Every variant."""
    if sizes.block is None or sizes.block == (sizes.queries, sizes.keys):
        return None
    return f"block = {sizes.block}: one block holds all {sizes.queries} queries and {sizes.keys} keys"


def block_mask_of(variant: Scored, sizes: Sizes) -> BlockMask:
    """The one block."""
    return blockwise.block_mask_of(variant, _one_block(sizes))


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""
    return blockwise.run(variant, heads, _one_block(sizes))


def _one_block(sizes: Sizes) -> Sizes:
    return dataclasses.replace(sizes, block=(max(sizes.queries, 1), max(sizes.keys, 1)))
