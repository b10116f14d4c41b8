"""Programs of inputs in 16 bits: products in that type, and fast exponentials (`exponent.py`).

Derivatives are defined in float32, of inputs that are widened. Tensor cores multiply matrices of 16-bit
numbers at twice the rate of float32 (at a fraction of its digits, or at a fraction of the rate with all), and
keep sums in float32. Two kinds of products become narrow:

- of two matrices that are such inputs, widened: no digit is lost;
- that are linear in a cotangent, of a matrix of pairs and one of rows or columns, in bfloat16: both are
  rounded, as weights and their derivatives are in other kernels of attention. Its range is that of float32,
  that of float16 is not.

All other products, as of the scores that a derivative computes again, are as the definition says.
"""

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.pallas.exponent import Exponents
from attnkit.forms.pallas.program import Program, known
from attnkit.jax_api import Literal, bind_equation

NARROW = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
#: operations whose result has the entries of their argument
LAYOUT = ("broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "transpose")


def narrow(program: Program, state: int, kinds: Sequence[str], cotangents: int) -> Program:
    """The program with narrow products and fast exponentials; itself if none of its inputs is narrow.

    Args:
        program: of a block.
        state: how many of its arguments, the first ones, are its state.
        kinds: what each argument is of.
        cotangents: in how many of its arguments, the last ones, it is linear.
    """
    jaxpr: Any = program.jaxpr
    types = {v.aval.dtype for v in jaxpr.invars if is_narrow(v.aval)}
    if len(types) != 1:
        return program
    (dtype,) = types
    inputs = list(zip(jaxpr.invars, kinds, strict=True))
    matrices = {v for v, kind in inputs[state:] if kind != "shared" and v.aval.ndim == 2}
    maker = {v: equation for equation in jaxpr.eqns for v in equation.outvars}
    exponents = Exponents(jaxpr, maker)
    chosen = products(jaxpr, dtype, maker, matrices, set(jaxpr.invars[len(inputs) - cotangents :]))

    def flat(*given: Any) -> list[Any]:
        values = known(jaxpr, program.consts, given)

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        def in_type(atom: Any) -> Any:
            made = maker.get(atom)
            widens = (
                made and made.primitive.name == "convert_element_type" and made.invars[0].aval.dtype == dtype
            )
            return read(made.invars[0]) if made and widens else read(atom).astype(dtype)

        for number, equation in enumerate(jaxpr.eqns):
            if equation.primitive.name == "exp" and equation.invars[0].aval.dtype == jnp.float32:
                made = [exponents.power(equation, read)]
            else:
                made = bind_equation(equation, [*map(in_type if number in chosen else read, equation.invars)])
            values.update(zip(equation.outvars, made, strict=True))
        return [read(a) for a in jaxpr.outvars]

    closed = jax.make_jaxpr(flat)(*(jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in jaxpr.invars))
    return dataclasses.replace(program, jaxpr=closed.jaxpr, consts=tuple(closed.consts))


def products(
    jaxpr: Any, dtype: Any, maker: Mapping[Any, Any], matrices: Set[Any], linear: Set[Any]
) -> set[int]:
    """Numbers of the products that become narrow, of `matrices` of a side and of what depends on `linear`."""
    moving, chosen = set(linear), set()
    for number, equation in enumerate(jaxpr.eqns):
        own = [a for a in equation.invars if not isinstance(a, Literal)]
        moves = any(a in moving for a in own)
        moving |= set(equation.outvars) if moves else set()
        if equation.primitive.name != "dot_general" or any(a.aval.dtype != jnp.float32 for a in own):
            continue
        (a, of_a), (b, of_b) = (origin(v, maker, dtype) for v in own)
        rounds = a or b or of_a in matrices or of_b in matrices
        if (a and b) or (moves and rounds and dtype == jnp.bfloat16):
            chosen.add(number)
    return chosen


def origin(v: Any, maker: Mapping[Any, Any], dtype: Any) -> tuple[bool, Any]:
    """Whether all entries of an array are those of a narrow one, widened; and what it is a layout of."""
    exact = False
    while v in maker and maker[v].primitive.name in LAYOUT and not isinstance(maker[v].invars[0], Literal):
        v = maker[v].invars[0]
        exact = exact or v.aval.dtype == dtype
    return exact, v


def is_narrow(aval: Any) -> bool:
    """Whether an array is a matrix of 16-bit numbers."""
    return aval.ndim == 2 and aval.dtype in NARROW


def stored_type(programs: Sequence[Program], place: int, dtype: Any) -> Any:
    """The type in which an argument is kept: a narrow one, if all that programs do is to convert it to that.

    Args:
        programs: of a kernel; their arguments end with those of the block.
        place: of the argument, from the end (-1 is the last one).
        dtype: of the argument.
    """
    users = [
        (equation.primitive.name, equation.params.get("new_dtype"))
        for program in programs
        for equation in program.jaxpr.eqns
        if program.jaxpr.invars[place] in [a for a in equation.invars if not isinstance(a, Literal)]
    ]
    returned = any(program.jaxpr.invars[place] is a for program in programs for a in program.jaxpr.outvars)
    types = {new for name, new in users if name == "convert_element_type" and new in NARROW}
    same = len(set(users)) == 1 and len(types) == 1 and not returned and dtype == jnp.float32
    return types.pop() if same else dtype
