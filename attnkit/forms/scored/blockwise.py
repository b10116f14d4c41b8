"""Attention by blocks: the normalizer's passes over blocks of keys that the mask does not prove empty."""

import dataclasses
import functools

from jaxtyping import Array

from attnkit.forms.block_mask import BlockMask, block_size, make_block_mask
from attnkit.forms.passes import Passes, pad
from attnkit.forms.select import with_statistics
from attnkit.forms.sizes import Sizes
from attnkit.forms.tiling import tiling
from attnkit.scored.block import Block, HeadBlocks
from attnkit.scored.contract import Scored


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Every variant, unless a part must see all keys and the block that is asked for holds fewer."""
    part = variant.needs_all_keys()
    if part is None or sizes.block is None or sizes.block[1] >= sizes.keys:
        return None
    return (
        f"{type(part).__name__} looks at all keys at once and cannot be computed by blocks of "
        f"{sizes.block[1]} of {sizes.keys} keys; use implementation = 'reference', or one block for all keys"
    )


def block_mask_of(variant: Scored, sizes: Sizes) -> BlockMask:
    """The blocks that are computed; all keys are in one block where a part must see them."""
    block = sizes.block
    if block is None and variant.needs_all_keys():
        block = (block_size(sizes.queries, tiling().steps[0][0]), sizes.keys or 1)
    return make_block_mask(variant.mask, sizes.queries, sizes.keys, sizes.offset, block)


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""
    block_mask = block_mask_of(variant, sizes)
    return heads.run(functools.partial(attend_blocks, Passes.of(variant, block_mask)))


def attend_blocks(passes: Passes, block: Block) -> tuple[Array, Array]:
    """Output `[queries, value_dim]` and log-sum-exp (or threshold) `[queries]` of one head."""
    block = pad(passes.block_mask, block)
    if passes.variant.selects():
        passes = dataclasses.replace(passes, block_mask=passes.block_mask.all_partial())
        block = with_statistics(passes, block)
    output, lse = passes.variant.normalizer.attend(passes, block)
    return output[: passes.block_mask.queries], lse[: passes.block_mask.queries]
