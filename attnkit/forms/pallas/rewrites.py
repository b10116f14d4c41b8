"""Operations that kernels lack, by others that they have.

A rewrite gets the operation, its arguments and all rewrites, and returns its results, or `None` where it has
nothing better than the operation itself.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.forms.pallas.lookups import dynamic_slice, dynamic_update_slice, gather, pick, place, scatter_add
from attnkit.forms.pallas.ordering import concatenate, cut, sort, top_k
from attnkit.forms.pallas.program import Arrays, Rewrites, known, solve
from attnkit.jax_api import scan_arguments

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
    reverse, length, body = (equation.params[name] for name in ("reverse", "length", "jaxpr"))
    body, consts = (body.jaxpr, body.consts) if hasattr(body, "jaxpr") else (body, ())
    held, start, stacked = scan_arguments(equation, arguments)
    carried = len(start)
    made = [jnp.zeros(v.aval.shape, v.aval.dtype) for v in equation.outvars[carried:]]

    def step(n: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, found = state
        at = length - 1 - n if reverse else n
        block = [*held, *carry, *(pick(a, at) for a in stacked)]
        results = solve(body, body.outvars, known(body, consts, block), rewrites)
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


def argmax(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Of truth values, where the first true one is; 0 without one."""
    (a,), (axis,) = arguments, equation.params["axes"]
    if a.dtype != bool:
        return None
    where = jax.lax.broadcasted_iota(jnp.int32, a.shape, axis)
    first = jnp.min(jnp.where(a, where, a.shape[axis]), axis=axis)
    return [jnp.where(first < a.shape[axis], first, 0).astype(equation.params["index_dtype"])]


def reshape(equation: Any, arguments: Arrays, rewrites: Rewrites) -> Arrays | None:
    """Truth values as numbers."""
    (a,) = arguments
    return [a.astype(jnp.int32).reshape(equation.params["new_sizes"]) != 0] if a.dtype == bool else None


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
    "sort": sort,
    "top_k": top_k,
}
#: further ones for GPUs
FOR_GPU: Rewrites = {"concatenate": concatenate, "slice": cut}
#: further ones for TPUs
FOR_TPU: Rewrites = {"expm1": expm1, "reshape": reshape}
