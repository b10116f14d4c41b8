"""Attention over the devices of a mesh axis that share a sequence: each gets all tokens of some heads.

Tokens are exchanged for heads, all to all; each device computes its heads in the form that one device would
take, with the parameters of these heads; results are exchanged back.

Source: Jacobs et al. 2023 (DeepSpeed Ulysses), arXiv 2309.14509.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms import scored as folder
from attnkit.forms.block_mask import BlockMask
from attnkit.forms.catalogue import get_form
from attnkit.forms.choice import choose_form
from attnkit.forms.shards import ALONE, Shards
from attnkit.forms.sizes import Sizes
from attnkit.scored.block import ALL, GROUP, Block, HeadBlocks
from attnkit.scored.contract import Scored
from attnkit.variant import HeadShape

#: it runs on several devices that share a sequence, and only there
DISTRIBUTED = True


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Variants whose heads do not need each other, if the devices divide the heads."""
    if sizes.shards is None:
        return ALONE
    for own in variant.parts().all():
        if own.mixes_heads:
            return f"{type(own).__name__} needs other heads, and each device has some of them"
    if sizes.shape and sizes.shape.heads % sizes.shards.count:
        return f"heads = {sizes.shape.heads}: {sizes.shards.count} devices must divide them"
    return None


def block_mask_of(variant: Scored, sizes: Sizes) -> BlockMask:
    """The blocks that are computed of each head."""
    whole = whole_sizes(sizes, None)
    found: BlockMask = get_form(folder, choose_form(variant, whole, "auto")[0]).block_mask_of(variant, whole)
    return found


def whole_sizes(sizes: Sizes, own: HeadShape | None) -> Sizes:
    """Sizes of the whole sequence, and of this device's heads."""
    assert sizes.shards
    queries, keys = (sizes.shards.count * count for count in (sizes.queries, sizes.keys))
    return dataclasses.replace(sizes, queries=queries, keys=keys, shape=own, shards=None)


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp (or threshold) of all heads, of this device's queries."""
    assert sizes.shards
    shards, shape = sizes.shards, heads.shape
    groups = math.lcm(shards.count, shape.kv_heads)
    own = HeadShape(shape.heads // shards.count, shape.dim, shape.value_dim, groups // shards.count)
    block = exchange(shards, heads.block, heads.axes, own.heads, groups // shape.kv_heads)
    whole = whole_sizes(sizes, own)
    form = get_form(folder, choose_form(variant, whole, "auto")[0])
    found = form.run(variant, HeadBlocks(block, heads.axes, own), whole)
    output, lse = (jax.lax.all_to_all(a, shards.axis, 1, 0, tiled=True) for a in found)
    return output, lse


def exchange(shards: Shards, block: Block, axes: Block, heads: int, copies: int) -> Block:
    """All tokens of this device's heads; key-value heads are copied first."""

    def of_head(a: Array, axis: str) -> Array:
        if axis == ALL:
            return a
        own: Array = jax.lax.dynamic_slice_in_dim(a, shards.index() * heads, heads)
        return own

    def of_tokens(a: Array, axis: str) -> Array:
        a = shards.varying(a)
        if axis == GROUP and copies > 1:
            a = jnp.repeat(a, copies, axis=0)
        exchanged: Array = (
            jax.lax.all_gather(a, shards.axis, tiled=True)
            if axis == ALL
            else jax.lax.all_to_all(a, shards.axis, 0, 1, tiled=True)
        )
        return exchanged

    return Block(
        jax.tree.map(of_head, block.shared, axes.shared),
        jax.tree.map(of_tokens, block.query, axes.query),
        jax.tree.map(of_tokens, block.key, axes.key),
    )
