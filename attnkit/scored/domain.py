"""Functions of pairs, evaluated only at pairs that may attend.

A part's function of a block may exist only where the mask allows: `p["strength"] * jnp.log(i - j)` under a
causal mask. Hiding its result at the other pairs is not enough: a derivative there is zero times infinity.
So the function is evaluated operation by operation, and where an array of pairs arises, its entries at
forbidden pairs are replaced by those of an allowed pair of the block. What follows then sees allowed pairs
only, in every derivative.

Functions made of operations that are finite, with their derivatives, wherever their arguments are finite are
called as they are, and cost nothing.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from attnkit.jax_api import ClosedJaxpr, Jaxpr, Literal, bind_equation, shape_like

Tree = Any
SHARED, QUERY, KEY, PAIR = "shared", "query", "key", "pair"
OF_TOKENS = (SHARED, QUERY, KEY, QUERY, KEY)  # the arguments of `Score.score` and `Position.bias`
OF_SCORES = (SHARED, PAIR, QUERY, KEY)  # of `transform_logits`
#: Sizes of a block that no other axis has, so that a second trace tells which axes count queries and keys.
TWIN = {QUERY: 7907, KEY: 7919}
#: Operations that are finite, with their derivatives, wherever their arguments are.
# fmt: off
TOTAL = {
    "abs", "add", "and", "argmax", "argmin", "broadcast_in_dim", "ceil", "clamp", "concatenate",
    "convert_element_type", "copy", "cos", "cumsum", "dot_general", "dynamic_slice", "eq", "erf",
    "expand_dims", "floor", "gather", "ge", "gt", "iota", "le", "logistic", "lt", "max", "min",
    "mul", "ne", "neg", "not", "or", "pad", "reduce_and", "reduce_max", "reduce_min", "reduce_or",
    "reduce_sum", "rem", "reshape", "rev", "round", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "slice", "split", "square",
    "squeeze", "stop_gradient", "sub", "tanh", "transpose", "xor"
}
# fmt: on
CALLS = ("pjit", "jit", "closed_call")


def on_allowed(
    function: Callable[..., Any], keep: Bool[Array, "queries keys"] | None, axes: tuple[str, ...]
) -> Callable[..., Any]:
    """`function`, with finite values and derivatives at pairs that are not allowed.

    Args:
        function: a function of one block. Its result at forbidden pairs must not be used.
        keep: pairs that may attend; `None` for all.
        axes: for each argument one of `SHARED`, `QUERY`, `KEY` and `PAIR`: whether its leading axes count
            queries, keys, or both. Attributes `query` and `key` of an argument say so themselves.
    """
    if keep is None:
        return function

    def guarded(*args: Any) -> Any:
        paths, tree = jax.tree_util.tree_flatten_with_path(args)
        leaves, labels = [a for _, a in paths], [_label(path, axes) for path, _ in paths]

        def of_leaves(*some: Any) -> Any:
            return function(*jax.tree.unflatten(tree, some))

        def once(*some: Any) -> Any:
            return expect_pairs(function, of_leaves(*some), keep.shape)

        program, result = jax.make_jaxpr(once, return_shape=True)(*leaves)
        if is_total(program.jaxpr):
            return function(*args)
        try:
            twin = jax.make_jaxpr(of_leaves)(*map(_twin_shape, leaves, labels))
        except (TypeError, ValueError, IndexError):  # it does not exist for blocks of another size
            return function(*args)
        if not _alike(program.jaxpr, twin.jaxpr):
            return function(*args)
        allowed = Allowed(keep)
        given = [
            allowed.replace(a, (0, 1)) if label == PAIR else a
            for a, label in zip(leaves, labels, strict=True)
        ]
        flat = _evaluate(program, twin, given, allowed)
        return jax.tree.unflatten(jax.tree.structure(result), flat)

    return guarded


def expect_pairs(function: Callable[..., Any], found: Any, pairs: tuple[int, ...]) -> Any:
    """`found`, a result of `function`, which must be `None` or broadcast to `[queries, keys]`.

    Raises:
        ValueError: naming the function's file and line, if it does not: the sum that it enters does not know.
    """
    shape = None if found is None else getattr(found, "shape", f"a {type(found).__name__}")
    if shape is None or (isinstance(shape, tuple) and _broadcasts(shape, pairs)):
        return found
    code = inspect.unwrap(getattr(function, "__func__", function)).__code__
    raise ValueError(
        f"{code.co_filename}:{code.co_firstlineno}: {code.co_name} gave {shape}, expected "
        f"[queries, keys] = {list(pairs)}"
    )


def _broadcasts(shape: tuple[int, ...], pairs: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, pairs) == tuple(pairs)
    except ValueError:
        return False


def is_total(jaxpr: Jaxpr) -> bool:
    """Whether values and derivatives are finite wherever the arguments are."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in CALLS:
            if not is_total(equation.params["jaxpr"].jaxpr):
                return False
        elif name == "div":
            divisor: Any = equation.invars[1]
            whole = not jnp.issubdtype(divisor.aval.dtype, jnp.floating)
            if not (whole or (isinstance(divisor, Literal) and divisor.val != 0)):
                return False
        elif name == "integer_pow":
            if equation.params["y"] < 0:
                return False
        elif name not in TOTAL:
            return False
    return True


class Allowed:
    """The pairs of a block that may attend, and one of them."""

    def __init__(self, keep: Bool[Array, "queries keys"]) -> None:
        flat = jnp.argmax(keep)  # the first, or 0 if there is none
        self.keep, self.any = keep, jnp.any(keep)
        self.pair = flat // keep.shape[1], flat % keep.shape[1]

    def replace(self, a: Array, axes: tuple[int, int]) -> Array:
        """`a` with its entries at forbidden pairs replaced by those of the allowed pair; by 1 without one."""
        one = a
        for index, axis in zip(self.pair, axes, strict=True):
            one = jax.lax.dynamic_index_in_dim(one, index, axis)
        one = jnp.where(self.any, one, jnp.ones_like(one))
        keep = self.keep if axes[0] < axes[1] else self.keep.T
        shape = [size if axis in axes else 1 for axis, size in enumerate(a.shape)]
        return jnp.where(keep.reshape(shape), a, one)


def _label(path: tuple[Any, ...], axes: tuple[str, ...]) -> str:
    """The axes of an array of the arguments, by the path to it."""
    names = [step.name for step in path if isinstance(step, jax.tree_util.GetAttrKey)]
    of_argument: str = axes[path[0].idx]
    return next((name for name in names if name in TWIN), of_argument)


def _twin_shape(a: Any, label: str) -> Any:
    shape, given = jnp.shape(a), jax.typeof(a)
    sizes = {SHARED: (), QUERY: (TWIN[QUERY],), KEY: (TWIN[KEY],), PAIR: (TWIN[QUERY], TWIN[KEY])}[label]
    return shape_like((*sizes, *shape[len(sizes) :]), given.dtype, given)


def _alike(jaxpr: Jaxpr, twin: Jaxpr) -> bool:
    """Whether two programs are the same operations, for blocks of different sizes."""
    if len(jaxpr.eqns) != len(twin.eqns):
        return False
    for one, other in zip(jaxpr.eqns, twin.eqns, strict=True):
        if one.primitive is not other.primitive:
            return False
        if one.primitive.name in CALLS and not _alike(one.params["jaxpr"].jaxpr, other.params["jaxpr"].jaxpr):
            return False
    return True


def _evaluate(program: ClosedJaxpr, twin: ClosedJaxpr, args: Sequence[Any], allowed: Allowed) -> list[Any]:
    """The program's results, with forbidden pairs replaced where arrays of pairs arise."""
    jaxpr = program.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*program.consts, *args), strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation, other in zip(jaxpr.eqns, twin.jaxpr.eqns, strict=True):
        given = [read(variable) for variable in equation.invars]
        if equation.primitive.name in CALLS:
            found = _evaluate(equation.params["jaxpr"], other.params["jaxpr"], given, allowed)
        else:
            found = bind_equation(equation, given)
            # Entries of results whose arguments are all of pairs are of allowed pairs already.
            known = {_sides(variable) for variable in other.invars} - {()}
            if known != {(QUERY, KEY)}:
                axes = [_pair_axes(variable) for variable in other.outvars]
                found = [
                    a if at is None else allowed.replace(a, at) for a, at in zip(found, axes, strict=True)
                ]
        values.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _sides(variable: Any) -> tuple[str, ...]:
    """Which of queries and keys a variable of the twin program has an axis for."""
    return tuple(side for side, size in TWIN.items() if size in variable.aval.shape)


def _pair_axes(variable: Any) -> tuple[int, int] | None:
    """The axes that count queries and keys; `None` unless there is one of each."""
    shape = variable.aval.shape
    if [shape.count(size) for size in TWIN.values()] != [1, 1]:
        return None
    return shape.index(TWIN[QUERY]), shape.index(TWIN[KEY])
