"""Plain attention by cuDNN's fused kernel: the forward pass; derivatives are ours.

Its output is rounded to the type of the values before a derivative sees it. Nothing here was measured on a
device.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.block_mask import BlockMask
from attnkit.forms.scored import pallas
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.forms.sizes import Sizes
from attnkit.forms.vendor.plain import band_of, plain_gap, scale_of
from attnkit.forms.vendor.softmax import DerivativeBlocks, VendorPasses
from attnkit.jax_api import cudnn_attention, cudnn_gap
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored

#: platforms on which `auto` takes it, and how early
COMPILED_ON = {"gpu": 2}
DTYPES = ("bfloat16", "float16")
WIDEST = 128


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Plain attention in 16 bits: of all keys, or causal with as many queries as keys, in a window or not."""
    if platform != "gpu":
        return f"platform {platform}: cuDNN computes on GPUs"
    if reason := plain_gap(variant, sizes):
        return reason
    if variant.cap is not None:
        return f"cap = {variant.cap}: its scores have no cap"
    if sizes.block is not None:
        return f"block = {sizes.block}: it chooses its blocks itself"
    if str(jnp.dtype(sizes.dtype)) not in DTYPES:
        return f"type {jnp.dtype(sizes.dtype)}: expected {' or '.join(DTYPES)}"
    shape = sizes.shape
    if shape and (shape.dim != shape.value_dim or shape.dim > WIDEST or shape.dim % 8):
        return (
            f"heads of width {shape.dim}, values of {shape.value_dim}: expected one width, a multiple of 8 "
            f"that is at most {WIDEST}"
        )
    return mask_gap(variant, sizes) or cudnn_gap()


def mask_gap(variant: Scored, sizes: Sizes) -> str | None:
    """Why cuDNN has no such mask: it has none, or aligns the diagonal of a square."""
    band = band_of(variant.mask, sizes.offset)
    assert band
    if band.back >= sizes.queries - 1 and band.ahead >= sizes.keys - 1:
        return None
    if sizes.queries != sizes.keys:
        return f"{sizes.queries} queries and {sizes.keys} keys under a mask: it would align them otherwise"
    if band.ahead or band.back < 0:
        return f"keys from {-band.back} to {band.ahead} of each query: its windows end at the query's own"
    return None


@dataclasses.dataclass(frozen=True)
class CudnnKernel:
    """The kernel of `jax.nn.dot_product_attention`, with its log-sum-exp in float32.

    Attributes:
        scale: of the scores.
        causal: whether keys after the query's own position are hidden.
        window: how many keys up to its own a query sees, if not all.
    """

    scale: float
    causal: bool
    window: int | None

    def __call__(self, q: Any, k: Any, v: Any) -> tuple[Any, Any]:
        return cudnn_attention(q, k[:, None], v[:, None], self.scale, self.causal, self.window)


def block_mask_of(variant: Scored, sizes: Sizes) -> BlockMask:
    """The blocks of its derivatives."""
    return DerivativeBlocks.of(pallas.block_mask_of(variant, sizes))


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp of all heads."""
    band = band_of(variant.mask, sizes.offset)
    assert band
    causal = band.ahead < sizes.keys - 1
    window = int(band.back) + 1 if causal and band.back < sizes.keys - 1 else None
    kernel = CudnnKernel(scale_of(variant.score, heads.shape.dim), causal, window)
    block_mask = block_mask_of(variant, sizes)
    derivatives = functools.partial(pallas.best_passes, variant, sizes, block_mask)
    passes = VendorPasses(variant, block_mask, kernel=kernel, band=band, derivatives=derivatives)
    return heads.run(functools.partial(attend_blocks, passes))
