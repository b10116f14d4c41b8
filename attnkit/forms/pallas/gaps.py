"""Why a variant cannot be compiled: its kernels are lowered for a platform, which needs no device of it."""

import functools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.block_mask import make_block_mask
from attnkit.forms.heads import make_heads, prepared_inputs, prepared_keys, split_inputs
from attnkit.forms.pallas.lowering import KERNELS
from attnkit.forms.passes import PLATFORMS, Passes
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.jax_api import on_abstract_device
from attnkit.masks.contract import Data
from attnkit.scored.contract import Scored
from attnkit.variant import HeadShape, TokenInput

Tree = Any
PATTERNS = {
    r"Unimplemented primitive in Pallas (\w+) lowering[^:]*: ([\w-]+)": r"{0} has no operation {1}",
    r"size is a power of 2\. Encountered an array of shape (\([\d, ]*\))": r"no power of two: shape {0}",
}


@functools.lru_cache(maxsize=1024)
def lowering_gap(
    variant: Scored,
    platform: str,
    shape: HeadShape | None,
    block: tuple[int, int],
    gradient: bool = True,
    dtype: Any = jnp.float32,
) -> str | None:
    """Why the kernels of a variant cannot be lowered for a platform; `None` if they can.

    Args:
        variant: the parts.
        platform: `gpu` or `tpu`.
        shape: heads and widths; `None` for the usual powers of two.
        block: queries and keys of a block.
        gradient: whether the gradient is lowered, which has the forward pass in it.
        dtype: of the inputs, on which programs depend; float64 stands for float32.
    """
    dtype = jnp.float32 if dtype == jnp.float64 else dtype
    tokens = 2 * max(block) - 1  # so that padding is lowered, too

    def lower() -> str | None:
        with jax.enable_x64(False):
            function, arrays = program(variant, shape, block, tokens, gradient, dtype)
            with on_abstract_device(platform):
                traced = jax.jit(function).trace(arrays)
                try:
                    traced.lower(lowering_platforms=PLATFORMS[platform][:1])
                except Exception as error:  # compilers raise errors of any type
                    return reason_of(error)
        return None

    # Inside of `jax.shard_map` JAX has a mesh that cannot be left but in another thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lower).result()


def program(
    variant: Scored,
    shape: HeadShape | None,
    block: tuple[int, int],
    tokens: int,
    gradient: bool,
    dtype: Any = jnp.float32,
) -> tuple[Callable[[Tree], Any], Tree]:
    """Attention by kernels as a function of arrays, summed up or its gradient; and the arrays' shapes.

    `shape = None` stands for the usual powers of two.
    """
    heads = variant.mask.heads() or 2
    shape = shape or HeadShape(heads, 64, 64, heads)

    def total(arrays: Tree) -> Any:
        output, lse = attend_all(variant, shape, block, arrays)
        return jnp.sum(output.astype(jnp.float32)) + jnp.sum(jnp.where(lse > -jnp.inf, lse, 0))

    return jax.grad(total) if gradient else total, problem(variant, shape, tokens, dtype)


def problem(variant: Scored, shape: HeadShape, tokens: int, dtype: Any) -> Tree:
    """Shapes of all arrays of an attention problem; parameters are float32."""

    def of(*size: int) -> Any:
        return jax.ShapeDtypeStruct(size, dtype)

    def of_input(need: TokenInput) -> Any:
        return of(1 if need.shared else shape.heads, tokens, need.width)

    return {
        "q": of(shape.heads, tokens, shape.dim),
        "k": of(shape.kv_heads, tokens, shape.dim),
        "v": of(shape.kv_heads, tokens, shape.value_dim),
        "params": jax.eval_shape(lambda key: variant.init(key, shape), jax.random.key(0)),
        "inputs": jax.tree.map(of_input, variant.inputs(shape)),
    }


def attend_all(variant: Scored, shape: HeadShape, block: tuple[int, int], arrays: Tree) -> Tree:
    """Attention of all heads by kernels, run-time data all 0."""
    tokens, needs = arrays["q"].shape[1], variant.needs()
    zeros, zero = jnp.zeros(tokens, jnp.int32), jnp.int32(0)
    data = Data(
        dict.fromkeys(needs.query, zeros), dict.fromkeys(needs.key, zeros), dict.fromkeys(needs.scalar, zero)
    )
    i = j = jnp.arange(tokens)
    sides = split_inputs(variant, prepared_inputs(variant, arrays["inputs"]), i)
    random = variant.dropout or any(part.random for part in variant.parts().all())
    key = jax.random.key(0) if random else None
    k = prepared_keys(variant, arrays["k"], j, data)
    heads = make_heads(variant, arrays["params"], arrays["q"], k, arrays["v"], i, j, sides, data, key)
    passes = Passes.of(variant, make_block_mask(variant.mask, tokens, tokens, 0, block), KERNELS)
    return heads.run(functools.partial(attend_blocks, passes))


def reason_of(error: Exception) -> str:
    """One line about a compiler's error: the operation or property at fault."""
    text = str(error)
    for pattern, line in PATTERNS.items():
        if found := re.search(pattern, text):
            return line.format(*found.groups())
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
