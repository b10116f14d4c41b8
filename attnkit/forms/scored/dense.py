"""Attention as one block of all pairs: the weights are kept for the backward pass."""

import dataclasses

from jaxtyping import Array

from attnkit.forms.scored import blockwise
from attnkit.forms.sizes import Sizes
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Every variant."""
    if sizes.block is None or sizes.block == (sizes.queries, sizes.keys):
        return None
    return f"block = {sizes.block}: one block holds all {sizes.queries} queries and {sizes.keys} keys"


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""
    block = max(sizes.queries, 1), max(sizes.keys, 1)
    return blockwise.run(variant, heads, dataclasses.replace(sizes, block=block))
