"""Platforms and their compilers of kernels."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from attnkit.forms.block_op import Arrays
from attnkit.forms.pallas.program import Rewrite
from attnkit.forms.pallas.rewrites import REWRITES
from attnkit.jax_api import pallas, pallas_mosaic, pallas_triton

VMEM_LIMIT = 100 << 20


@dataclasses.dataclass(frozen=True)
class Target:
    """A compiler of kernels.

    Attributes:
        call: runs a kernel: `call(body, grid, tables, inputs, outputs, shapes, arrays)`, where a body is
            called with the tables, the inputs and the outputs of one program.
        rewrites: operations that it lacks.
    """

    call: Callable[..., Arrays]
    rewrites: Mapping[str, Rewrite]


def target_of(platform: str) -> Target:
    """The target of a platform, as `jax.default_backend` names it."""
    return TARGETS.get(platform, TARGETS["cpu"])


def call(
    options: Callable[[], dict[str, Any]],
    body: Callable[..., None],
    grid: tuple[int, ...],
    tables: tuple[np.ndarray, ...],
    inputs: list[Any],
    outputs: list[Any],
    shapes: list[Any],
    arrays: Arrays,
) -> Arrays:
    """A kernel whose tables are arrays like others."""
    pl = pallas()
    whole = [pl.BlockSpec(table.shape, lambda *ids: (0, 0)) for table in tables]
    kernel = pl.pallas_call(
        body,
        out_shape=shapes,
        grid=grid,
        in_specs=[*whole, *inputs],
        out_specs=outputs,
        **options(),
    )
    found: Arrays = kernel(*map(jax.numpy.asarray, tables), *arrays)
    return found


def call_prefetched(body: Callable[..., None], grid: Any, tables: Any, inputs: Any, outputs: Any, shapes: Any, arrays: Arrays) -> Arrays:
    """A kernel whose tables are read before its programs start."""
    pl, tpu = pallas(), pallas_mosaic()
    spec = tpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=len(tables), grid=grid, in_specs=inputs, out_specs=outputs
    )
    kernel = pl.pallas_call(
        body,
        out_shape=shapes,
        grid_spec=spec,
        compiler_params=tpu.CompilerParams(vmem_limit_bytes=VMEM_LIMIT),
    )
    found: Arrays = kernel(*map(jax.numpy.asarray, tables), *arrays)
    return found


def _triton() -> dict[str, Any]:
    return {"compiler_params": pallas_triton().CompilerParams(num_warps=4, num_stages=2)}


import functools
TARGETS = {
    "cpu": Target(functools.partial(call, lambda: {"interpret": True}), REWRITES),
    "gpu": Target(functools.partial(call, _triton), REWRITES),
    "tpu": Target(call_prefetched, REWRITES),
}
