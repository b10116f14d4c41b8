"""Plain attention by tokamax's kernels for GPUs: the forward pass; derivatives are ours.

On Hopper and Blackwell that of Mosaic GPU, elsewhere, and where that refuses, that of Triton; a CPU computes
their definition by XLA. The output is rounded to the type of the values before a derivative sees it. Nothing
here was measured on a device, so `auto` does not take it.
"""

import dataclasses
import functools
import importlib.util
import math
import sys
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
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored

#: platforms that have kernels; `auto` takes none
COMPILED_ON = {"gpu": 0}
#: by platform, what is tried, in this order, and types
IMPLEMENTATIONS = {"gpu": ("mosaic_gpu", "triton"), "cpu": ("xla",)}
DTYPES = {"gpu": ("bfloat16", "float16"), "cpu": ("bfloat16", "float16", "float32")}


def supports(variant: Scored, sizes: Sizes, platform: str) -> str | None:
    """Plain attention, capped or not, of any lengths and widths."""
    if platform not in IMPLEMENTATIONS:
        return f"platform {platform}: the kernels are for GPUs"
    if importlib.util.find_spec("tokamax") is None:
        return "tokamax is not installed: pip install attnkit[tokamax]"
    if reason := plain_gap(variant, sizes):
        return reason
    if sizes.block is not None:
        return f"block = {sizes.block}: it chooses its blocks itself"
    if str(jnp.dtype(sizes.dtype)) not in DTYPES[platform]:
        return f"type {jnp.dtype(sizes.dtype)}: expected {' or '.join(DTYPES[platform])}"
    if sizes.hindrance:
        return sizes.hindrance
    return None


def parse_no_flags() -> None:
    """Keep tokamax from reading the arguments of the command, which are not its own."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(sys.argv[:1])


@dataclasses.dataclass(frozen=True)
class TokamaxKernel:
    """The operations behind `tokamax.dot_product_attention`, which returns no log-sum-exp.

    Attributes:
        scale: of the scores.
        cap: soft cap of the scores; `None` for none.
        band: which keys each row has.
    """

    scale: float
    cap: float | None
    band: Band

    def __call__(self, q: Any, k: Any, v: Any) -> tuple[Any, Any]:
        from tokamax._src.ops.attention import api, base

        parse_no_flags()
        first, after = (a[None, None] for a in self.band.bounds(q.shape[2], k.shape[1]))
        causal = self.band.ahead == 0
        mask = base.Mask(
            k_start=None if math.isinf(self.band.back) else first,
            k_end=None if causal or math.isinf(self.band.ahead) else after,
            is_causal=causal,
        )
        given = jnp.swapaxes(q, 1, 2), k[:, :, None], v[:, :, None]
        how = {"logits_scale": self.scale, "logits_soft_cap": self.cap, "mask": mask}
        refused = []
        for name in IMPLEMENTATIONS[jax.default_backend()]:
            try:
                output, (most, total) = api.IMPLEMENTATIONS[name](*given, **how, return_residuals=True)
            except NotImplementedError as error:
                refused.append(f"{name}: {error}")
            else:
                return jnp.swapaxes(output, 1, 2), most + jnp.log(total)
        raise ValueError(f"implementation = 'tokamax': {'; '.join(refused)}")


def block_mask_of(variant: Scored, sizes: Sizes) -> BlockMask:
    """The blocks of its derivatives."""
    return DerivativeBlocks.of(pallas.block_mask_of(variant, sizes))


def run(variant: Scored, heads: HeadBlocks, sizes: Sizes) -> tuple[Array, Array]:
    """Output and log-sum-exp of all heads."""
    band = band_of(variant.mask, sizes.offset)
    assert band
    kernel = TokamaxKernel(scale_of(variant.score, heads.shape.dim), variant.cap, band)
    block_mask = block_mask_of(variant, sizes)
    derivatives = functools.partial(pallas.best_passes, variant, sizes, block_mask)
    passes = VendorPasses(variant, block_mask, kernel=kernel, band=band, derivatives=derivatives)
    return heads.run(functools.partial(attend_blocks, passes))
