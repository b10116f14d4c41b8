"""Attention by fused kernels: each pass of the normalizer is one kernel for all blocks and heads.

A CPU interprets kernels, operation by operation, which proves what they compute and is slow. Nothing here was
measured on a device.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.block_loops import LOOPS
from attnkit.forms.block_mask import BlockMask, make_block_mask
from attnkit.forms.passes import Passes
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.forms.sizes import Sizes
from attnkit.forms.tiling import KERNELS, tiling
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored

#: platforms that have a compiler of kernels, and how early `auto` takes this form there
COMPILED_ON = {"gpu": 1, "tpu": 1}
#: bytes of a TPU's memory that the keys and values of a program may take, and of its scalar memory the table
#: of blocks; as compilers took them (docs/accelerators.md)
TPU_TOKENS, TPU_TABLE, TPU_LANES = 8 << 20, 3 << 18, 128


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Variants whose passes visit keys in any order, block by block, of operations that the compiler has."""
    return gap(variant, sizes, platform, block_mask_of)


def gap(
    variant: Scored, sizes: Sizes, platform: str, block_mask_of: Callable[[Scored, Sizes, str], BlockMask]
) -> str | None:
    """Why kernels cannot visit the blocks of a form; `None` if they can."""
    if platform not in KERNELS:
        return f"platform {platform}: there is no compiler of kernels; expected {', '.join(KERNELS)}"
    if part := variant.needs_all_keys():
        return f"{type(part).__name__} looks at all keys at once, and a kernel sees a block of them"
    for own in variant.parts().all():
        if own.mixes_heads:
            return f"{type(own).__name__} needs other heads, which are other programs of a kernel"
    ordered = [part for part in variant.position if part.is_sequential()]
    for own in (*ordered, *([variant.normalizer] if variant.normalizer.is_sequential() else [])):
        return f"{type(own).__name__} visits the keys in order, and a fold in order has no kernel"
    if platform not in COMPILED_ON:
        return None
    if sizes.hindrance:
        return sizes.hindrance
    from attnkit.forms.pallas.gaps import lowering_gap

    block_mask = block_mask_of(variant, sizes, platform)
    if platform == "tpu" and (full := tpu_memory(sizes, block_mask)):
        return full
    lacks = lowering_gap(variant, platform, sizes.shape, block_mask.block, dtype=jnp.dtype(sizes.dtype))
    return lacks and f"the compiler for {platform} lacks what the variant needs: {lacks}"


def tpu_memory(sizes: Sizes, block_mask: BlockMask) -> str | None:
    """Why a TPU has no room for the kernels of some sizes; `None` if it has."""
    widths = (sizes.shape.dim, sizes.shape.value_dim) if sizes.shape else (TPU_LANES,) * 2
    lanes = sum(TPU_LANES * -(-width // TPU_LANES) for width in widths)
    size = max(sizes.queries, sizes.keys) * lanes * jnp.dtype(sizes.dtype).itemsize
    if size > TPU_TOKENS:
        return f"keys and values take {size} bytes, and a TPU's kernels have room for {TPU_TOKENS}"
    if (size := block_mask.table_bytes()) > TPU_TABLE:
        return (
            f"the table of blocks takes {size} bytes, and a TPU has room for {TPU_TABLE}; take larger blocks"
        )
    return None


def block_mask_of(variant: Scored, sizes: Sizes, platform: str | None = None) -> BlockMask:
    """The blocks that are computed."""
    use = tiling("kernels", platform)
    return make_block_mask(variant.mask, sizes.queries, sizes.keys, sizes.offset, sizes.block, use=use)


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads."""
    from attnkit.forms.pallas import lowering

    passes = Passes.of(variant, block_mask_of(variant, sizes), lowering.KERNELS)
    return heads.run(functools.partial(attend_blocks, passes))


def best_passes(variant: Scored, sizes: Sizes, block_mask: BlockMask) -> Passes:
    """Passes by kernels if this platform compiles them, and by loops otherwise."""
    from attnkit.forms.pallas import lowering

    platform = jax.default_backend()
    compiled = platform in COMPILED_ON and supports(variant, sizes, platform) is None
    return Passes.of(variant, block_mask, lowering.KERNELS if compiled else LOOPS)
