"""Products in the type of the inputs, where a derivative is computed in float32 of inputs in fewer bits.

Tensor cores multiply matrices of 16-bit numbers at twice the rate of float32 (at a fraction of its digits, or
at a fraction of the rate with all), and keep sums in float32. Two kinds of products become narrow:

- of two matrices that are such inputs, widened: no digit is lost;
- that are linear in a cotangent, of a matrix of pairs and one of rows or columns, in bfloat16: both are
  rounded, as weights and their derivatives are in other kernels of attention. Its range is that of float32,
  that of float16 is not.

All else, as the scores that a derivative computes again, is as the definition says.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.pallas.program import Program, known
from attnkit.jax_api import Literal, bind_equation

#: operations whose result has the entries of their argument
LAYOUT = ("broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "transpose")


def narrow_products(program: Program, sides: Sequence[bool], cotangents: Sequence[bool]) -> Program:
    """The program with narrow products; itself if none of its inputs is narrow.

    Args:
        program: of a block.
        sides: which of its arguments are of rows or columns.
        cotangents: in which of its arguments it is linear.
    """
    jaxpr: Any = program.jaxpr
    types = {v.aval.dtype for v in jaxpr.invars if is_narrow(v.aval)}
    if len(types) != 1:
        return program
    (narrow,) = types
    chosen = products(jaxpr, narrow, sides, cotangents)
    if not chosen:
        return program

    def flat(*given: Any) -> list[Any]:
        values = known(jaxpr, program.consts, given)

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        for number, equation in enumerate(jaxpr.eqns):
            arguments = [read(a) for a in equation.invars]
            if number in chosen:
                arguments = [a.astype(narrow) for a in arguments]
            values.update(zip(equation.outvars, bind_equation(equation, arguments), strict=True))
        return [read(a) for a in jaxpr.outvars]

    closed = jax.make_jaxpr(flat)(*(jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in jaxpr.invars))
    return dataclasses.replace(program, jaxpr=closed.jaxpr, consts=tuple(closed.consts))


def products(jaxpr: Any, narrow: Any, sides: Sequence[bool], cotangents: Sequence[bool]) -> set[int]:
    """Numbers of the products that become narrow."""
    maker = {v: equation for equation in jaxpr.eqns for v in equation.outvars}
    matrices = {v for v, side in zip(jaxpr.invars, sides, strict=True) if side and v.aval.ndim == 2}
    linear = {v for v, one in zip(jaxpr.invars, cotangents, strict=True) if one}
    chosen = set()
    for number, equation in enumerate(jaxpr.eqns):
        own = [a for a in equation.invars if not isinstance(a, Literal)]
        moves = any(a in linear for a in own)
        linear |= set(equation.outvars) if moves else set()
        if equation.primitive.name != "dot_general" or any(a.aval.dtype != jnp.float32 for a in own):
            continue
        exact, given = zip(*(origin(a, maker, narrow) for a in own), strict=True)
        rounds = (
            moves
            and narrow == jnp.bfloat16
            and any(e or v in matrices for e, v in zip(exact, given, strict=True))
        )
        if all(exact) or rounds:
            chosen.add(number)
    return chosen


def origin(v: Any, maker: Mapping[Any, Any], narrow: Any) -> tuple[bool, Any]:
    """Whether all entries of an array are those of a narrow one, widened; and what it is a layout of."""
    exact = False
    while v in maker and maker[v].primitive.name in LAYOUT and not isinstance(maker[v].invars[0], Literal):
        v = maker[v].invars[0]
        exact = exact or v.aval.dtype == narrow
    return exact, v


def is_narrow(aval: Any) -> bool:
    """Whether an array is a matrix of 16-bit numbers."""
    return aval.ndim == 2 and aval.dtype in (jnp.bfloat16, jnp.float16)
