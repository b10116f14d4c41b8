"""Programs of inputs in 16 bits: products in that type, and exponentials by one operation of the hardware.

Derivatives are defined in float32, of inputs that are widened. Tensor cores multiply matrices of 16-bit
numbers at twice the rate of float32 (at a fraction of its digits, or at a fraction of the rate with all), and
keep sums in float32. Two kinds of products become narrow:

- of two matrices that are such inputs, widened: no digit is lost;
- that are linear in a cotangent, of or with a matrix of pairs and one of rows or columns, in bfloat16: both
  are rounded, as weights and their derivatives are in other kernels of attention. Its range is that of
  float32, that of float16 is not.

All other products, as of the scores that a derivative computes again, are as the definition says.

An exponential is a power of 2, for which a GPU has an operation; `exp` takes seven more. Its relative error
is `|x|` roundings in float32, below one of 16 bits wherever a weight counts.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import jax.numpy as jnp

from attnkit.forms.pallas.program import Arrays, Program, evaluate
from attnkit.forms.pallas.transposed import PAIRS, changed, label
from attnkit.jax_api import Literal, bind_equation

LOG2_E = 1.4426950408889634
NARROW = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
#: operations whose result has the entries of their argument
LAYOUT = ("broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "transpose")


def narrow(program: Program, state: int, kinds: Sequence[str], cotangents: int) -> Program:
    """The program with narrow products and fast exponentials.

    It is unchanged if its matrices are not of one 16-bit type, some of them.

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
    matrices = {v for v, kind in inputs[state:] if kind != "shared" and is_matrix(v.aval)}
    chosen = products(jaxpr, dtype, label(jaxpr, kinds), matrices, jaxpr.invars[len(inputs) - cotangents :])

    def compute(equation: Any, arguments: list[Any]) -> Arrays:
        if equation.primitive.name == "exp" and arguments[0].dtype == jnp.float32:
            return [jnp.exp2(arguments[0] * LOG2_E)]
        if id(equation) in chosen:
            wide = changed(equation, preferred_element_type=jnp.dtype(jnp.float32))
            return bind_equation(wide, [a.astype(dtype) for a in arguments])
        return bind_equation(equation, arguments)

    return program.computed(lambda values: evaluate(jaxpr, values, compute))


def products(
    jaxpr: Any, dtype: Any, labels: Mapping[Any, Any], matrices: Set[Any], linear: Sequence[Any]
) -> set[int]:
    """`id` of the products that become narrow, of `matrices` of a side and of what depends on `linear`."""
    maker = {v: equation for equation in jaxpr.eqns for v in equation.outvars}
    moving, chosen = set(linear), set()
    for equation in jaxpr.eqns:
        own = [a for a in equation.invars if not isinstance(a, Literal)]
        moves = any(a in moving for a in own)
        moving |= set(equation.outvars) if moves else set()
        if equation.primitive.name != "dot_general" or any(a.aval.dtype != jnp.float32 for a in own):
            continue
        (a, of_a), (b, of_b) = (origin(v, maker, dtype) for v in own)
        side = a or b or of_a in matrices or of_b in matrices
        pairs = any(PAIRS in (labels[v], labels[v][::-1]) for v in (*own, *equation.outvars))
        if (a and b) or (moves and side and pairs and dtype == jnp.bfloat16):
            chosen.add(id(equation))
    return chosen


def origin(v: Any, maker: Mapping[Any, Any], dtype: Any) -> tuple[bool, Any]:
    """Whether all entries of an array are those of a narrow one, widened; and what it is a layout of."""
    exact = False
    while v in maker and maker[v].primitive.name in LAYOUT and not isinstance(maker[v].invars[0], Literal):
        v = maker[v].invars[0]
        exact = exact or v.aval.dtype == dtype
    return exact, v


def is_matrix(aval: Any) -> bool:
    """Whether an array is a matrix of numbers that can be rounded."""
    return aval.ndim == 2 and jnp.issubdtype(aval.dtype, jnp.floating)


def is_narrow(aval: Any) -> bool:
    """Whether an array is a matrix of 16-bit numbers."""
    return is_matrix(aval) and aval.dtype in NARROW


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
