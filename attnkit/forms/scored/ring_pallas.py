"""A ring (`ring`) whose hops are fused kernels: what each device computes of the keys that pass by.

The kernels are those of `pallas`, which begin where the hop before ended; tables of the blocks that a device
visits are arguments of theirs. Nothing here was measured on a device.
"""

from jaxtyping import Array

from attnkit.forms.ring_mask import RingMask
from attnkit.forms.scored import pallas, ring
from attnkit.forms.sizes import Sizes
from attnkit.forms.tiling import tiling
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored

#: it runs on several devices that share a sequence, and only there
DISTRIBUTED = True
COMPILED_ON = pallas.COMPILED_ON


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Variants that a ring and kernels compute."""
    return ring.supports(variant, sizes, platform) or pallas.gap(variant, sizes, platform, block_mask_of)


def block_mask_of(variant: Scored, sizes: Sizes, platform: str | None = None) -> RingMask:
    """The blocks that each device computes, and the order of its tokens."""
    return ring.block_mask_of(variant, sizes, tiling("kernels", platform))


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads, of this device's queries."""
    from attnkit.forms.pallas import lowering

    return ring.go_round(variant, heads, block_mask_of(variant, sizes), lowering.RING)
