"""Sorting and moving entries along an axis, one entry after the other: compilers of kernels lack both.

Sorting counts, for every entry, those that come before it, which costs the square of their number: it is
meant for the few best of a block.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.pallas.lookups import only
from attnkit.forms.pallas.program import Arrays, Rewrites

#: entries of a row that are sorted at most
MOST = 160


def top_k(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """The largest entries of each row, the largest first, and where they are; of equal ones the first."""
    (a,), (values, places) = arguments, (v.aval for v in equation.outvars)
    axis = equation.params.get("axis", -1) % a.ndim
    if a.shape[axis] > MOST:
        return None
    rank = ranks([a], axis, after)
    where = jax.lax.broadcasted_iota(places.dtype, a.shape, axis)
    return [moved(b, to, axis, lambda n: only_at(rank, n, axis)) for b, to in ((a, values), (where, places))]


def sort(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Rows in increasing order of the first arrays, and of equal ones as they were."""
    axis, keys = equation.params["dimension"], arguments[: equation.params["num_keys"]]
    if keys[0].shape[axis] > MOST:
        return None
    rank = ranks(keys, axis, lambda a, b: after(b, a))
    return [
        moved(a, v.aval, axis, lambda n: only_at(rank, n, axis))
        for a, v in zip(arguments, equation.outvars, strict=True)
    ]


def concatenate(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Each array moved to where it begins."""
    axis, (made,) = equation.params["dimension"], equation.outvars
    found, start = jnp.zeros(made.aval.shape, made.aval.dtype), 0
    for a in arguments:
        found = moved(a, made.aval, axis, functools.partial(operator.add, start), found)
        start += a.shape[axis]
    return [found]


def cut(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """A slice along one axis: what is outside is moved nowhere."""
    (a,), (made,), start = arguments, equation.outvars, equation.params["start_indices"]
    axes = [n for n in range(a.ndim) if a.shape[n] != made.aval.shape[n]]
    if len(axes) != 1 or set(equation.params["strides"] or (1,)) != {1}:
        return None
    return [moved(a, made.aval, axes[0], lambda n: n - start[axes[0]])]


def ranks(keys: Arrays, axis: int, comes_before: Callable[[Any, Any], Any]) -> Any:
    """For each entry along an axis, how many come before it by the first key that differs, or by place."""
    where = jax.lax.broadcasted_iota(jnp.int32, keys[0].shape, axis)

    def count(n: Any, rank: Any) -> Any:
        before, same = jnp.zeros(rank.shape, bool), jnp.ones(rank.shape, bool)
        for key in keys:
            own = only_at(key, n, axis)
            first, last = comes_before(own, key), comes_before(key, own)
            before, same = before | (same & first), same & ~first & ~last
        return rank + (before | (same & (n < where))).astype(jnp.int32)

    return jax.lax.fori_loop(0, where.shape[axis], count, jnp.zeros(where.shape, jnp.int32))


def after(a: Any, b: Any) -> Any:
    """Whether `a` comes after `b` in increasing order, whose end is not-a-number."""
    return (a > b) | ((a != a) & (b == b))


def moved(a: Any, made: Any, axis: int, to: Callable[[Any], Any], found: Any = None) -> Any:
    """An array like `made` with the entries of `a` along an axis, entry n at `to(n)` if that exists."""
    where = jax.lax.broadcasted_iota(jnp.int32, made.shape, axis)
    found = jnp.zeros(made.shape, made.dtype) if found is None else found

    def move(n: Any, found: Any) -> Any:
        return jnp.where(where == to(n), only_at(a, n, axis), found)

    return jax.lax.fori_loop(0, a.shape[axis], move, found)


def only_at(a: Any, n: Any, axis: int) -> Any:
    """Entry `n` of an array along an axis, which is kept."""
    return only(a, jax.lax.broadcasted_iota(jnp.int32, a.shape, axis) == n, axis, keepdims=True)
