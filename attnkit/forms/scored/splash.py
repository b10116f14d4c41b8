"""Plain attention by the splash attention kernel for TPUs that comes with JAX: the forward pass; derivatives
are ours.

The scale goes into the queries, which rounds them once more in bfloat16, and the output is rounded to the
type of the values before a derivative sees it. Nothing here was measured on a device; a CPU interprets it.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.block_mask import BlockMask
from attnkit.forms.scored import pallas
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.forms.sizes import Sizes
from attnkit.forms.vendor.plain import Band, band_of, plain_gap, scale_of
from attnkit.forms.vendor.softmax import DerivativeBlocks, VendorPasses
from attnkit.jax_api import splash_attention
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored

#: platforms on which `auto` takes it, and how early
COMPILED_ON = {"tpu": 2}
DTYPES = ("float32", "bfloat16")
LANES = 128
#: sides of its blocks, the largest that divides a sequence
SIDES = (512, 256, LANES)


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Plain attention, capped or not, of whole blocks of 128 queries and keys."""
    if platform not in ("cpu", *COMPILED_ON):
        return f"platform {platform}: the kernel is for TPUs"
    if reason := plain_gap(variant, sizes):
        return reason
    for name, count in (("queries", sizes.queries), ("keys", sizes.keys)):
        if count % LANES:
            return f"{name} = {count}: expected a multiple of {LANES}; what is left over would be garbage"
    if sizes.block is not None:
        return f"block = {sizes.block}: it takes blocks of {', '.join(map(str, SIDES))}, the largest that fit"
    if str(jnp.dtype(sizes.dtype)) not in DTYPES:
        return f"type {jnp.dtype(sizes.dtype)}: expected {' or '.join(DTYPES)}"
    if sizes.hindrance:
        return sizes.hindrance
    return None


@dataclasses.dataclass(frozen=True)
class SplashKernel:
    """The kernel, for queries that share keys.

    Attributes:
        scale: of the scores.
        cap: soft cap of the scores; `None` for none.
        band: which keys each row has.
    """

    scale: float
    cap: float | None
    band: Band

    def __call__(self, q: Any, k: Any, v: Any) -> tuple[Any, Any]:
        splash = splash_attention()
        heads, queries, keys = q.shape[1], q.shape[2], k.shape[1]
        back, ahead = (None if math.isinf(side) else int(side) for side in (self.band.back, self.band.ahead))
        if back is ahead is None:
            mask = splash.FullMask((queries, keys))
        elif back is None:
            mask = splash.CausalMask((queries, keys), ahead)
        else:
            mask = splash.LocalMask((queries, keys), (back, ahead), 0)
        blocks = (next(side for side in SIDES if count % side == 0) for count in (queries, keys))
        kernel = splash.make_splash_mqa(
            splash.MultiHeadMask([mask] * heads),
            block_sizes=splash.BlockSizes(*blocks),
            save_residuals=True,
            attn_logits_soft_cap=self.cap,
            head_shards=1,
            q_seq_shards=1,
            interpret=jax.default_backend() == "cpu",
        )
        wide = q.astype(jnp.float32) * self.scale
        output, (lse,) = jax.vmap(kernel)(wide.astype(q.dtype), k, v)
        return output, lse


def block_mask_of(variant: Scored, sizes: Sizes) -> BlockMask:
    """The blocks of its derivatives."""
    return DerivativeBlocks.of(pallas.block_mask_of(variant, sizes))


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp of all heads."""
    band = band_of(variant.mask, sizes.offset)
    assert band
    kernel = SplashKernel(scale_of(variant.score, heads.shape.dim), variant.cap, band)
    block_mask = block_mask_of(variant, sizes)
    derivatives = functools.partial(pallas.best_passes, variant, sizes, block_mask)
    passes = VendorPasses(variant, block_mask, kernel=kernel, band=band, derivatives=derivatives)
    return heads.run(functools.partial(attend_blocks, passes))
