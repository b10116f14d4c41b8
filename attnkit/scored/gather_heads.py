"""Arrays of all heads, for parts whose hooks need those of the other heads.

As `jax.lax.all_gather` over the mapped axis of the heads, which JAX refuses inside `shard_map` with its check
of varying axes: it takes every named axis for one of devices.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.jax_api import Primitive, ad, batching, mlir, shape_like
from attnkit.scored.contract import HEADS


def gather_heads(a: Array) -> Array:
    """The arrays `a` of all heads, stacked on a leading axis; in hooks of parts with `mixes_heads`."""
    gathered: Array = gather_p.bind(a, heads=jax.lax.axis_size(HEADS))
    return gathered


def _primitive(name: str) -> Primitive:
    made = Primitive(name)
    mlir.register_lowering(made, mlir.lower_fun(_outside, multiple_results=False))
    return made


def _outside(a: Array, *, heads: int) -> Array:
    raise ValueError(f"heads are gathered outside of a computation mapped over the axis {HEADS!r}")


def _batch_gather(axis: Any, given: Sequence[Any], dims: Sequence[Any], *, heads: int) -> tuple[Any, Any]:
    (a,), (dim,) = given, dims
    mapped = isinstance(dim, int)
    if axis.name == HEADS:
        if mapped:
            return jnp.moveaxis(a, dim, 0), None
        return jnp.broadcast_to(a, (heads, *a.shape)), None
    if not mapped:
        return gather_p.bind(a, heads=heads), None
    return gather_p.bind(jnp.moveaxis(a, dim, 0), heads=heads), 1


def _batch_scatter(axis: Any, given: Sequence[Any], dims: Sequence[Any], *, heads: int) -> tuple[Any, Any]:
    (a,), (dim,) = given, dims
    mapped = isinstance(dim, int)
    if axis.name == HEADS:
        return (jnp.sum(a, axis=dim) if mapped else heads * a), 0
    if not mapped:
        return scatter_p.bind(a, heads=heads), None
    return scatter_p.bind(jnp.moveaxis(a, dim, 1), heads=heads), 0


#: `[...]` of each head to `[heads, ...]`, the same for all
gather_p = _primitive("gather_heads")
#: its transpose: the sum over the heads of their `[heads, ...]`, of which each head gets its own
scatter_p = _primitive("scatter_heads")
gather_p.def_abstract_eval(lambda a, *, heads: shape_like((heads, *a.shape), a.dtype, a))
scatter_p.def_abstract_eval(lambda a, *, heads: shape_like(a.shape[1:], a.dtype, a))
ad.deflinear(gather_p, lambda cotangent, *, heads: [scatter_p.bind(cotangent, heads=heads)])
ad.deflinear(scatter_p, lambda cotangent, *, heads: [gather_p.bind(cotangent, heads=heads)])
batching.fancy_primitive_batchers[gather_p] = _batch_gather
batching.fancy_primitive_batchers[scatter_p] = _batch_scatter
