"""Programs for a compiler that wants powers of two: every axis grows to the next, whatever it is of.

What fills up an array is never defined and never read: sums and products leave it out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.pallas.program import CALLS, Arrays, Program, evaluate, known
from attnkit.jax_api import bind_equation, scan_arguments

Shape = tuple[int, ...]
#: operations on each entry alone; an axis of one entry is that for all entries of another
ELEMENTWISE = {
    "abs", "add", "add_any", "and", "atan2", "cbrt", "ceil", "clamp", "convert_element_type", "cos",
    "div", "eq", "erf", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow",
    "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not",
    "or", "pow", "rem", "round", "rsqrt", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "sin", "sqrt", "square", "sub", "tan", "tanh", "xor",
}  # fmt: skip
#: operations whose other axes are as they were
AS_BEFORE = frozenset(("squeeze", "transpose"))
#: what does not change a reduction, of numbers
NEUTRAL: Mapping[str, Callable[[Any], Any]] = {
    "argmax": lambda dtype: least(dtype),
    "argmin": lambda dtype: greatest(dtype),
    "reduce_max": lambda dtype: least(dtype),
    "reduce_min": lambda dtype: greatest(dtype),
    "reduce_prod": lambda dtype: 1,
    "reduce_sum": lambda dtype: 0,
}


def padded_shape(shape: Shape) -> Shape:
    """The shape with the next power of two of every size."""
    return tuple(1 << max(n - 1, 0).bit_length() for n in shape)


def pad_program(program: Program) -> Program:
    """The program for arrays that have grown; itself if none does.

    Raises `NotImplementedError` with the operation that cannot be computed so.
    """
    jaxpr: Any = program.jaxpr
    shapes = [v.aval.shape for v in jaxpr.invars]
    shapes += [v.aval.shape for one in jaxpr.eqns for v in one.outvars]
    if all(padded_shape(shape) == shape for shape in shapes):
        return program

    return program.computed(lambda values: evaluate(jaxpr, values, compute), padded_shape)


def compute(equation: Any, arguments: Arrays) -> Arrays:
    """The results of one operation."""
    name, shapes = equation.primitive.name, [v.aval.shape for v in (*equation.invars, *equation.outvars)]
    if name in CALLS:
        inner = equation.params[CALLS[name]]
        body, held = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
        return evaluate(body, known(body, held, arguments), compute)
    if name in RULES:
        return RULES[name](equation, arguments)
    if name in ELEMENTWISE or name in AS_BEFORE or all(padded_shape(shape) == shape for shape in shapes):
        return bind_equation(equation, arguments)
    if name in NEUTRAL:
        axes = equation.params["axes"]
        (a,), neutral = arguments, NEUTRAL[name](arguments[0].dtype)
        return bind_equation(equation, [only_inside(a, shapes[0], axes, neutral)])
    raise NotImplementedError(
        f"{name} of shape {next(s for s in shapes if padded_shape(s) != s)}: no power of two"
    )


def only_inside(a: Any, shape: Shape, axes: Any, neutral: Any) -> Any:
    """An array that has grown, with `neutral` where it did along some axes."""
    for axis in axes:
        if a.shape[axis] != shape[axis]:
            inside = jax.lax.broadcasted_iota(jnp.int32, a.shape, axis) < shape[axis]
            a = jnp.where(inside, a, jnp.full_like(a, neutral))
    return a


def least(dtype: Any) -> Any:
    """The least number of a type."""
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def greatest(dtype: Any) -> Any:
    """The greatest number of a type."""
    return jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).max


def broadcast_in_dim(equation: Any, arguments: Arrays) -> Arrays:
    """To the shape as it has grown."""
    shape = padded_shape(equation.params["shape"])
    return [jax.lax.broadcast_in_dim(arguments[0], shape, equation.params["broadcast_dimensions"])]


def dot_general(equation: Any, arguments: Arrays) -> Arrays:
    """Sums of products of what was there before."""
    summed = equation.params["dimension_numbers"][0]
    shapes = [v.aval.shape for v in equation.invars]
    cut = [only_inside(a, s, axes, 0) for a, s, axes in zip(arguments, shapes, summed, strict=True)]
    return bind_equation(equation, cut)


def iota(equation: Any, arguments: Arrays) -> Arrays:
    """Of the shape as it has grown."""
    given = equation.params
    return [jax.lax.broadcasted_iota(given["dtype"], padded_shape(given["shape"]), given["dimension"])]


def reshape(equation: Any, arguments: Arrays) -> Arrays:
    """Axes of one entry more or less; others only if they have not grown."""
    old, new = (v.aval.shape for v in (equation.invars[0], equation.outvars[0]))
    if [n for n in old if n > 1] != [n for n in new if n > 1] and (padded_shape(old), padded_shape(new)) != (
        old,
        new,
    ):
        raise NotImplementedError(f"reshape of {old} to {new}: no power of two")
    return [jnp.reshape(arguments[0], padded_shape(new))]


def scan(equation: Any, arguments: Arrays) -> Arrays:
    """A loop without stacked arrays."""
    held, start, stacked = scan_arguments(equation, arguments)
    body, length = equation.params["jaxpr"], equation.params["length"]
    if stacked or len(equation.outvars) != len(start):
        raise NotImplementedError("scan over stacked arrays")

    def step(carry: Any, nothing: None) -> tuple[Any, None]:
        given = known(body.jaxpr, body.consts, [*held, *carry])
        return tuple(evaluate(body.jaxpr, given, compute)), None

    return list(jax.lax.scan(step, tuple(start), None, length=length)[0])


RULES: Mapping[str, Callable[[Any, Arrays], Arrays]] = {
    "broadcast_in_dim": broadcast_in_dim,
    "dot_general": dot_general,
    "iota": iota,
    "reshape": reshape,
    "scan": scan,
}
