"""Operations that kernels lack, by others that they have.

A rewrite gets the operation, its arguments and all rewrites, and returns its results, or `None` where it has
nothing better than the operation itself.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.forms.pallas.program import Arrays, Rewrite, known, solve

Rewrites = Mapping[str, Rewrite]
#: erf(x) = x P(x^2) / Q(x^2) for |x| <= 4, beyond which it is 1 in float32: the coefficients of Eigen
ERF_P = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
ERF_Q = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip
ERF_END = 4.0


def erf(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """A rational function, within 4e-7 in float32."""
    (x,) = arguments
    if x.dtype == np.float64:
        return None
    a = jnp.clip(x.astype(jnp.float32), -ERF_END, ERF_END)
    top, bottom = (jnp.full_like(a, own[0]) for own in (ERF_P, ERF_Q))
    for c in ERF_P[1:]:
        top = top * (a * a) + c
    for c in ERF_Q[1:]:
        bottom = bottom * (a * a) + c
    return [(a * top / bottom).astype(x.dtype)]


def erfc(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """`1 - erf(x)`."""
    found = erf(equation, arguments, rewrites)
    return None if found is None else [1 - found[0]]


def reduce_or(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """The largest of numbers that are 0 or 1."""
    (a,) = arguments
    return [jnp.max(a.astype(jnp.int32), axis=equation.params["axes"]) > 0] if a.dtype == bool else None


def reduce_and(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """The smallest of numbers that are 0 or 1."""
    (a,) = arguments
    return [jnp.min(a.astype(jnp.int32), axis=equation.params["axes"]) > 0] if a.dtype == bool else None


def copy(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Nothing."""
    return arguments


def expm1(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """`tanh(x / 2) (exp(x) + 1)`, which loses no digits near 0."""
    (x,) = arguments
    return [jnp.tanh(x / 2) * (jnp.exp(x) + 1)]


def scan(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """A loop that picks and places the entries of stacked arrays by comparing numbers."""
    given, length = equation.params, equation.params["length"]
    consts, carried = given["num_consts"], given["num_carry"]
    held, start, stacked = (
        arguments[:consts],
        arguments[consts : consts + carried],
        arguments[consts + carried :],
    )
    made = [jnp.zeros(v.aval.shape, v.aval.dtype) for v in equation.outvars[carried:]]
    body = given["jaxpr"]

    def step(n: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, found = state
        at = length - 1 - n if given["reverse"] else n
        block = [*held, *carry, *(pick(a, at) for a in stacked)]
        values = known(body.jaxpr, body.consts, block)
        results = solve(body.jaxpr, body.jaxpr.outvars, values, rewrites)
        placed = tuple(place(a, b, at) for a, b in zip(found, results[carried:], strict=True))
        return tuple(results[:carried]), placed

    carry, found = jax.lax.fori_loop(0, length, step, (tuple(start), tuple(made)))
    return [*carry, *found]


def dot_general(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Products with vectors, and of vectors, as sums of products."""
    a, b = arguments
    (of_a, of_b), batch = equation.params["dimension_numbers"]
    if (a.ndim == 2 and b.ndim == 2) or any(batch) or a.ndim > 2 or b.ndim > 2:
        return None
    wide = equation.outvars[0].aval.dtype
    a, b = a.astype(wide), b.astype(wide)
    if not of_a:
        return [a.reshape(*a.shape, *(1,) * b.ndim) * b]
    if a.ndim == 2:
        return [jnp.sum(a * (b[None, :] if of_a[0] else b[:, None]), axis=of_a[0])]
    if b.ndim == 2:
        return [jnp.sum(b * (a[None, :] if of_b[0] else a[:, None]), axis=of_b[0])]
    return [jnp.sum(a * b)]


def gather(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Entries of a table, or of each row's own table: a sum over the entries, of which one is not 0."""
    table, index = arguments
    per_row = looked_up(equation)
    if per_row is None:
        return None
    at = inside(equation, index[..., 0], table.shape[-1])

    def add(n: Any, found: Any) -> Any:
        one = pick(table.T, n)[:, None] if per_row else pick(table, n)
        return jnp.where(at == n, one, found)

    start = jnp.full(
        equation.outvars[0].aval.shape, jnp.nan if jnp.issubdtype(table.dtype, jnp.floating) else 0
    )
    return [jax.lax.fori_loop(0, table.shape[-1], add, start.astype(table.dtype))]


def scatter_add(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Sums by entry: for each entry, that of the pairs which have it, in a fixed order."""
    table, index, more = arguments
    per_row = looked_up(equation)
    if per_row is None:
        return None
    at = inside(equation, index[..., 0], table.shape[-1])

    def add(n: Any, found: Any) -> Any:
        mine = jnp.where(at == n, more, jnp.zeros_like(more))
        if per_row:
            return found + place(jnp.zeros_like(found).T, jnp.sum(mine, axis=1), n).T
        return found + place(jnp.zeros_like(found), jnp.sum(mine), n)

    return [jax.lax.fori_loop(0, table.shape[-1], add, table)]


def looked_up(equation: Any) -> bool | None:
    """Whether each row has its own table `[rows, entries]`, or all pairs one; `None` for another layout."""
    table, index = (equation.invars[n].aval for n in (0, 1))
    numbers = equation.params["dimension_numbers"]
    names = (
        ("operand_batching_dims", "start_index_map")
        if hasattr(numbers, "start_index_map")
        else (
            "operand_batching_dims",
            "scatter_dims_to_operand_dims",
        )
    )
    batch, mapped = (tuple(getattr(numbers, name)) for name in names)
    if index.shape[-1] != 1 or mapped != (table.ndim - 1,):
        return None
    if getattr(numbers, "offset_dims", ()) or getattr(numbers, "update_window_dims", ()):
        return None
    return {(1, ()): False, (2, (0,)): True}.get((table.ndim, batch))


def inside(equation: Any, index: Any, entries: int) -> Any:
    """The index, clipped if the operation says so."""
    return jnp.clip(index, 0, entries - 1) if "CLIP" in str(equation.params["mode"]) else index


def argmax(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Of truth values, where the first true one is; 0 without one."""
    (a,), (axis,) = arguments, equation.params["axes"]
    if a.dtype != bool:
        return None
    place_of = jax.lax.broadcasted_iota(jnp.int32, a.shape, axis)
    first = jnp.min(jnp.where(a, place_of, a.shape[axis]), axis=axis)
    return [jnp.where(first < a.shape[axis], first, 0).astype(equation.params["index_dtype"])]


def dynamic_slice(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """One entry along some axes and all along the others: sums of which one term is not 0."""
    a, *index = arguments
    axes = single_axes(a.shape, equation.params["slice_sizes"])
    if axes is None:
        return None
    for axis in axes:
        kept = jnp.where(at_index(a.shape, axis, index[axis]), a, jnp.zeros_like(a))
        kept = kept.astype(jnp.int32) if a.dtype == bool else kept
        a = jnp.sum(kept, axis=axis, keepdims=True, dtype=kept.dtype).astype(a.dtype)
    return [a]


def dynamic_update_slice(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """The transpose of the former."""
    a, new, *index = arguments
    axes = single_axes(a.shape, new.shape)
    if axes is None:
        return None
    here = jnp.ones(a.shape, bool)
    for axis in axes:
        here = here & at_index(a.shape, axis, index[axis])
    return [jnp.where(here, jnp.broadcast_to(new, a.shape), a)]


def single_axes(shape: tuple[int, ...], part: tuple[int, ...]) -> list[int] | None:
    """The axes along which a part is one entry; `None` if it is neither that nor all along some axis."""
    axes = [n for n, (all_of, some) in enumerate(zip(shape, part, strict=True)) if some != all_of]
    return axes if all(part[n] == 1 for n in axes) else None


def at_index(shape: tuple[int, ...], axis: int, index: Any) -> Any:
    """Where an array's index along an axis is `index`, clipped to those that exist."""
    return jax.lax.broadcasted_iota(jnp.int32, shape, axis) == jnp.clip(index, 0, shape[axis] - 1)


def pick(a: Any, n: Any) -> Any:
    """`a[n]`."""
    chosen = jax.lax.broadcasted_iota(jnp.int32, a.shape, 0) == n
    if a.dtype == bool:
        return jnp.max(jnp.where(chosen, a, False).astype(jnp.int32), axis=0) > 0
    return jnp.sum(jnp.where(chosen, a, jnp.zeros_like(a)), axis=0, dtype=a.dtype)


def place(a: Any, b: Any, n: Any) -> Any:
    """`a` with `b` as its entry `n`."""
    return jnp.where(jax.lax.broadcasted_iota(jnp.int32, a.shape, 0) == n, b[None], a)


REWRITES: Rewrites = {
    "argmax": argmax,
    "copy": copy,
    "copy_p": copy,
    "dot_general": dot_general,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "erf": erf,
    "erfc": erfc,
    "gather": gather,
    "reduce_and": reduce_and,
    "reduce_or": reduce_or,
    "scan": scan,
    "scatter-add": scatter_add,
    "scatter_add": scatter_add,
}
#: further ones for TPUs
FOR_TPU: Rewrites = {"expm1": expm1}
