"""Matrix products on CPUs: the larger operand is not transposed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from attnkit.jax_api import ClosedJaxpr, jaxpr_as_fun

Arrays = Sequence[Any]


def avoid_lhs_transpose(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with products `a^T b` computed so that only the smaller matrix is transposed.

    The CPU's matrix product reads a large transposed matrix at less than half of its speed; the transpose of
    a score's product, and that of the values', have one each.
    """

    def transposed(*given: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*given)
        found = _evaluate(closed, jax.tree.leaves(given))
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return transposed


def _evaluate(closed: ClosedJaxpr, given: Arrays) -> list[Any]:
    """Results of a program, its products as `avoid_lhs_transpose` says."""
    program = closed.jaxpr
    known = dict(zip([*program.constvars, *program.invars], [*closed.consts, *given], strict=True))

    def value(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in program.eqns:
        values = [value(atom) for atom in equation.invars]
        if equation.primitive.name == "dot_general" and _has_lhs_transpose(equation, values):
            found = [_transpose_smaller(equation, *values)]
        else:
            alone = program.replace(
                constvars=[], invars=[a for a in equation.invars if not hasattr(a, "val")]
            )
            alone = alone.replace(outvars=equation.outvars, eqns=[equation])
            inputs = [v for a, v in zip(equation.invars, values, strict=True) if not hasattr(a, "val")]
            found = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*inputs)
        known.update(zip(equation.outvars, found, strict=True))
    return [value(atom) for atom in program.outvars]


def _has_lhs_transpose(equation: Any, values: Arrays) -> bool:
    """Whether a product is `a^T b` of matrices."""
    contracted, batch = equation.params["dimension_numbers"]
    return all(a.ndim == 2 for a in values) and not any(batch) and all(tuple(c) == (0,) for c in contracted)


def _transpose_smaller(equation: Any, a: Any, b: Any) -> Any:
    """`a^T b`, or `(b^T a)^T` if `a` is the larger. The barriers keep the compiler from turning it around."""
    if a.size > b.size:
        return _transpose_smaller(equation, b, a).T
    params = {name: equation.params[name] for name in ("precision", "preferred_element_type")}
    contracted = jax.lax.optimization_barrier(a.T)
    return jax.lax.optimization_barrier(
        jax.lax.dot_general(contracted, b, (((1,), (0,)), ((), ())), **params)
    )
