"""Platforms and their compilers of kernels."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from attnkit.forms.block_op import Arrays
from attnkit.forms.pallas.padded import Shape, pad_program, padded_shape
from attnkit.forms.pallas.program import Program, Rewrite
from attnkit.forms.pallas.rewrites import FOR_GPU, FOR_TPU, REWRITES
from attnkit.jax_api import pallas, pallas_mosaic, pallas_triton

Body = Callable[..., None]
Grid = tuple[int, ...]
Tables = tuple[Any, ...]
VMEM_LIMIT = 100 << 20


@dataclasses.dataclass(frozen=True)
class Target:
    """A compiler of kernels.

    Attributes:
        call: runs a kernel, `call(name, body, grid, tables, inputs, outputs, structs, arrays)`: what one
            program does with its tables, inputs and outputs; what it sees of the arrays; what all write.
        rewrites: operations that it lacks.
        grow: shapes that it can have instead of others.
        pad: programs for these.
        transposes: whether programs that own columns hold matrices of pairs as `[columns, rows]`.
    """

    call: Callable[..., Arrays]
    rewrites: Mapping[str, Rewrite]
    grow: Callable[[Shape], Shape] = lambda shape: shape
    pad: Callable[[Program], Program] = lambda program: program
    transposes: bool = False


def interpreted(name: str, body: Body, grid: Grid, tables: Tables, *given: Any) -> Arrays:
    """Operation by operation, as XLA does it: the proof of a kernel on a machine that cannot compile it."""
    return call({"interpret": True}, name, body, grid, tables, *given)


def triton(name: str, body: Body, grid: Grid, tables: Tables, *given: Any) -> Arrays:
    """Compiled for a GPU."""
    parameters = pallas_triton().CompilerParams(num_warps=4, num_stages=2)
    return call({"compiler_params": parameters}, name, body, grid, tables, *given)


def call(
    how: dict[str, Any],
    name: str,
    body: Body,
    grid: Grid,
    tables: Tables,
    inputs: list[Any],
    outputs: list[Any],
    structs: list[Any],
    arrays: Arrays,
) -> Arrays:
    """A kernel whose tables are arrays like others."""
    pl = pallas()
    inputs = [*(pl.BlockSpec(table.shape, lambda *ids: (0, 0)) for table in tables), *inputs]
    kernel = pl.pallas_call(body, structs, name=name, grid=grid, in_specs=inputs, out_specs=outputs, **how)
    found: Arrays = kernel(*map(jnp.asarray, tables), *arrays)
    return found


def mosaic(
    name: str,
    body: Body,
    grid: Grid,
    tables: Tables,
    inputs: list[Any],
    outputs: list[Any],
    structs: list[Any],
    arrays: Arrays,
) -> Arrays:
    """Compiled for a TPU, whose programs find the tables in scalar memory."""
    tpu = pallas_mosaic()
    spec = tpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=len(tables), grid=grid, in_specs=inputs, out_specs=outputs
    )
    parameters = tpu.CompilerParams(vmem_limit_bytes=VMEM_LIMIT)
    kernel = pallas().pallas_call(body, structs, name=name, grid_spec=spec, compiler_params=parameters)
    found: Arrays = kernel(*map(jnp.asarray, tables), *arrays)
    return found


#: by platform, as `jax.default_backend` names it
TARGETS = {
    "cpu": Target(interpreted, {**REWRITES, **FOR_GPU}, transposes=True),
    "gpu": Target(triton, {**REWRITES, **FOR_GPU}, padded_shape, pad_program, transposes=True),
    "tpu": Target(mosaic, {**REWRITES, **FOR_TPU}),
}
