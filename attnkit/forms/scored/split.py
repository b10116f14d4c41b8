"""Attention over pieces of the keys, merged: as over split caches, or keys that live on other devices."""

import dataclasses
import functools
import itertools
from typing import cast

import jax
from jaxtyping import Array

from attnkit.forms.block_mask import make_block_mask
from attnkit.forms.passes import Passes, pad
from attnkit.forms.sizes import Sizes
from attnkit.scored.block import Block, HeadBlocks, bind
from attnkit.scored.contract import Scored
from attnkit.scored.exponential import ExponentialNormalizer, Partial, finish, merge, partial_softmax

PIECES = 3


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Normalizers whose partial results merge, of weights that depend on no other keys."""
    if reason := variant.normalizer.unmergeable():
        return reason
    sequential = (part for part in variant.position if part.is_sequential() or part.needs_all_keys)
    for part in (*variant.selection, *sequential):
        return f"{type(part).__name__}: a weight depends on other keys, so pieces cannot be merged"
    return None


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp of all heads, from three pieces of the keys."""
    first = sizes.keys // PIECES
    bounds = (0, first, min(first + 1, sizes.keys), sizes.keys)

    def one(block: Block) -> tuple[Array, Array]:
        pieces = []
        for low, high in itertools.pairwise(bounds):
            key = jax.tree.map(lambda a, low=low, high=high: a[low:high], block.key)
            piece = dataclasses.replace(sizes, keys=high - low)
            pieces.append(attend_piece(variant, dataclasses.replace(block, key=key), piece, low))
        normalizer = cast(ExponentialNormalizer, variant.normalizer)
        return finish(normalizer.rest(bind(block).normalizer), functools.reduce(merge, pieces))

    return heads.run(one)


def attend_piece(variant: Scored, block: Block, sizes: Sizes, first: int) -> Partial:
    """Partial result of one head over the block's keys, the first of which is at position `first`."""
    block_mask = make_block_mask(variant.mask, sizes.queries, sizes.keys, sizes.offset, sizes.block, first)
    if variant.selects():
        block_mask = block_mask.all_partial()
    state = partial_softmax(Passes.of(variant, block_mask), pad(block_mask, block))
    return Partial(*(part[: sizes.queries] for part in state))
