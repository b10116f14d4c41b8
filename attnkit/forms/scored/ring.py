"""Attention over the devices of a mesh axis that share a sequence: keys and values travel around a ring.

Each device computes its own queries, block by block, with the keys that pass by; blocks that the mask proves
empty are not computed, and keys that no device needs do not come by. Where the mask leaves devices unlike
work, as a causal one does, tokens are brought into zigzag order first, and results back.

Source: Liu, Zaharia & Abbeel 2023, arXiv 2310.01889, for the ring; Zhu 2024, zigzag ring attention, for the
order.
"""

import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import Array

from attnkit.forms.passes import Passes
from attnkit.forms.ring_mask import RingMask, make_ring_mask
from attnkit.forms.rings import RING, Ring
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.forms.shards import ALONE
from attnkit.forms.sizes import Sizes
from attnkit.forms.tiling import Tiling, tiling
from attnkit.scored.block import ALL, HeadBlocks
from attnkit.scored.contract import Scored
from attnkit.scored.elementwise import ElementwiseNormalizer
from attnkit.scored.exponential import ExponentialNormalizer

#: it runs on several devices that share a sequence, and only there
DISTRIBUTED = True


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Variants whose passes visit keys in any order, as many passes on each device."""
    if sizes.shards is None:
        return ALONE
    if part := variant.needs_all_keys():
        return f"{type(part).__name__} looks at all keys at once, and a device has a share of them"
    for own in variant.parts().all():
        if own.mixes_heads:
            return f"{type(own).__name__} needs other heads, and a ring computes one head at a time"
    ordered = [part for part in variant.position if part.is_sequential()]
    for own in (*ordered, *([variant.normalizer] if variant.normalizer.is_sequential() else [])):
        return f"{type(own).__name__} visits the keys in order, and in a ring each device begins elsewhere"
    if not isinstance(variant.normalizer, ExponentialNormalizer | ElementwiseNormalizer):
        name = type(variant.normalizer).__name__
        return f"{name} may pass over the keys more often on one device than on another, and all must pass"
    return None


def block_mask_of(variant: Scored, sizes: Sizes, use: Tiling | None = None) -> RingMask:
    """The blocks that each device computes, and the order of its tokens."""
    assert sizes.shards
    given = sizes.queries, sizes.keys, sizes.offset, sizes.block, sizes.shards
    return make_ring_mask(variant.mask, *given, use or tiling())


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads, of this device's queries."""
    return go_round(variant, heads, block_mask_of(variant, sizes), RING)


def go_round(variant: Scored, heads: HeadBlocks, ring: RingMask, lowering: Ring) -> tuple[Array, Array]:
    """The same by some ring."""
    if ring.zigzag:
        heads = in_zigzag(ring, heads)
    found = heads.run(functools.partial(attend_blocks, Passes.of(variant, ring, lowering)))
    if not ring.zigzag:
        return found
    output, lse = (ring.shards.consecutive(a, 1) for a in found)
    return output, lse


def in_zigzag(ring: RingMask, heads: HeadBlocks) -> HeadBlocks:
    """All heads with tokens in zigzag order."""
    block, axes = heads.block, heads.axes

    def reordered(side: Any, axes: Any) -> Any:
        return jax.tree.map(lambda a, axis: ring.shards.zigzag(a, 0 if axis == ALL else 1), side, axes)

    query, key = reordered(block.query, axes.query), reordered(block.key, axes.key)
    return dataclasses.replace(heads, block=dataclasses.replace(block, query=query, key=key))
