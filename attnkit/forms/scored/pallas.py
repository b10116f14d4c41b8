"""Attention by fused kernels: each pass of the normalizer is one kernel for all blocks and heads."""

import functools

from jaxtyping import Array

from attnkit.forms.block_mask import BlockMask, make_block_mask
from attnkit.forms.pallas.lowering import KERNELS
from attnkit.forms.passes import Passes
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.forms.sizes import Sizes
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored

BLOCK = 64


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Why not."""
    return None


def block_mask_of(variant: Scored, sizes: Sizes) -> BlockMask:
    """The blocks that are computed."""
    return make_block_mask(
        variant.mask, sizes.queries, sizes.keys, sizes.offset, sizes.block or (BLOCK, BLOCK)
    )


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""
    passes = Passes.of(variant, block_mask_of(variant, sizes), KERNELS)
    return heads.run(functools.partial(attend_blocks, passes))
