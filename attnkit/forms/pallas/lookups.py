"""Entries of arrays at positions known only at run time, by comparing numbers: compilers lack the operations.

Every sum here has one term that is not 0, or is over the pairs with one entry, in a fixed order.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from attnkit.forms.pallas.program import Arrays, Rewrites

Layout = Literal["pairs", "rows", "columns"]
#: (axes of the table, batch axes, axes of the result that are those of the table) of each layout
LAYOUTS: Mapping[tuple[int, tuple[int, ...], tuple[int, ...]], Layout] = {
    (1, (), ()): "pairs",
    (2, (0,), ()): "rows",
    (2, (), (0,)): "columns",
}


def gather(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Entries of a table, one entry after the other; truth values as numbers."""
    table, index = arguments
    layout, made = layout_of(equation), equation.outvars[0].aval
    if layout is None:
        return None
    if table.dtype == bool:
        found = gather(equation, [table.astype(jnp.int32), index], rewrites)
        return None if found is None else [found[0] != 0]
    at = inside(equation, index[..., 0], table.shape[-1])

    def add(n: Any, found: Any) -> Any:
        if layout == "pairs":
            return jnp.where(at == n, pick(table, n), found)
        own = pick(table.T, n)[:, None]
        return jnp.where((at if layout == "rows" else at[None, :]) == n, own, found)

    nothing = jnp.nan if jnp.issubdtype(table.dtype, jnp.floating) else 0
    return [jax.lax.fori_loop(0, table.shape[-1], add, jnp.full(made.shape, nothing, table.dtype))]


def scatter_add(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Sums of the pairs with each entry, one entry after the other."""
    table, index, more = arguments
    layout = layout_of(equation)
    if layout not in ("pairs", "rows"):
        return None
    at = inside(equation, index[..., 0], table.shape[-1])

    def add(n: Any, found: Any) -> Any:
        mine, none = jnp.where(at == n, more, jnp.zeros_like(more)), jnp.zeros_like(found)
        if layout == "rows":
            return found + place(none.T, jnp.sum(mine, axis=1), n).T
        return found + place(none, jnp.sum(mine), n)

    return [jax.lax.fori_loop(0, table.shape[-1], add, table)]


def layout_of(equation: Any) -> Layout | None:
    """Owner of a table: all pairs, each row, or each row with entries by columns; `None` for another."""
    table, index = (equation.invars[n].aval for n in (0, 1))
    numbers = equation.params["dimension_numbers"]
    if equation.primitive.name == "gather":
        mapped, kept = numbers.start_index_map, numbers.offset_dims
    else:
        mapped, kept = numbers.scatter_dims_to_operand_dims, numbers.update_window_dims
    if index.shape[-1] != 1 or tuple(mapped) != (table.ndim - 1,):
        return None
    return LAYOUTS.get((table.ndim, tuple(numbers.operand_batching_dims), tuple(kept)))


def inside(equation: Any, index: Any, entries: int) -> Any:
    """The index, clipped if the operation says so."""
    return jnp.clip(index, 0, entries - 1) if "CLIP" in str(equation.params["mode"]) else index


def dynamic_slice(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """One entry along some axes and all along the others: sums of which one term is not 0."""
    a, *index = arguments
    axes = single_axes(a.shape, equation.params["slice_sizes"])
    if axes is None:
        return None
    for axis in axes:
        a = only(a, at_index(a.shape, axis, index[axis]), axis, keepdims=True)
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
    return only(a, jax.lax.broadcasted_iota(jnp.int32, a.shape, 0) == n, 0)


def only(a: Any, here: Any, axis: int, keepdims: bool = False) -> Any:
    """The entries of `a` where `here` is true, which it is once along an axis."""
    summable = a.dtype != bool and not jnp.issubdtype(a.dtype, jnp.unsignedinteger)
    signed = a if summable else a.astype(jnp.int32)
    kept = jnp.where(here, signed, jnp.zeros_like(signed))
    return jnp.sum(kept, axis=axis, keepdims=keepdims, dtype=kept.dtype).astype(a.dtype)


def place(a: Any, b: Any, n: Any) -> Any:
    """`a` with `b` as its entry `n`."""
    return jnp.where(jax.lax.broadcasted_iota(jnp.int32, a.shape, 0) == n, b[None], a)
