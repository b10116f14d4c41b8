"""The names of JAX that are not of its public API or that have moved, in one place.

Tested with every supported version in `tests/test_jax_api.py`; nothing else in the package may import
`jax.extend`, `jax.interpreters` or an attribute that begins with an underscore.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    Primitive,
    get_opaque_trace_state,
    jaxpr_as_fun,
)
from jax.interpreters import ad, batching, mlir

__all__ = [
    "ClosedJaxpr",
    "Jaxpr",
    "Literal",
    "Primitive",
    "ad",
    "batching",
    "bind_equation",
    "current_trace",
    "is_symbolic_zero",
    "jaxpr_as_fun",
    "make_user_context",
    "match_vma",
    "mlir",
    "shape_like",
    "varying_axes",
]

#: A value that code consults while it is traced, and that is part of the key of every cache of JAX.
make_user_context = jax.make_user_context


def current_trace() -> object:
    """The trace that is being written, comparable with `==`; that of no transformation if there is none."""
    return get_opaque_trace_state(convention="attnkit")


def bind_equation(equation: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    """The results of one equation of a program, for some values of its arguments."""
    found = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
    return list(found) if equation.primitive.multiple_results else [found]


def is_symbolic_zero(tangent: Any) -> bool:
    """Whether a tangent of a `custom_jvp` rule with `symbolic_zeros` is known to be zero."""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def varying_axes(a: Any) -> frozenset[str]:
    """Mesh axes along which an array, or its abstract value, varies inside `shard_map`."""
    axes: frozenset[str] = (jax.typeof(a) if isinstance(a, jax.Array) else a).manual_axis_type.varying
    return axes


def match_vma(tree: Any, others: Any = ()) -> Any:
    """`tree` with its arrays marked as varying over all mesh axes over which any of both trees varies.

    The operands of one operation, and a loop's carry before and after a step, must agree in that.
    """
    axes = frozenset[str]().union(*map(varying_axes, jax.tree.leaves((tree, others))))

    def spread(a: Any) -> Any:
        missing = tuple(sorted(axes - varying_axes(a)))
        return jax.lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(spread, tree) if axes else tree


def shape_like(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """Abstract value of an array that varies over the same mesh axes as `like`."""
    like = jax.typeof(like) if isinstance(like, jax.Array) else like
    if not varying_axes(like):
        return jax.core.ShapedArray(shape, dtype)
    sharding = like.sharding.update(spec=jax.sharding.PartitionSpec())
    return like.update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)
