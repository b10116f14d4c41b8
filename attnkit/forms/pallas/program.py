"""Functions of blocks as flat programs of operations that kernels have."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from attnkit.jax_api import Jaxpr, JaxprEqn, Literal, bind_equation

Arrays = Sequence[Any]
#: another way to compute an operation: its results from its arguments, or `None` for the usual way
Rewrite = Callable[..., Arrays | None]
#: operations that are programs of others, and the parameter that holds the program
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat": "jaxpr",
    "checkpoint": "jaxpr",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of flat arrays.

    Attributes:
        jaxpr: its operations.
        consts: arrays that the function holds.
        used: for each argument, whether a result depends on it.
    """

    jaxpr: Jaxpr
    consts: tuple[Any, ...]
    used: tuple[bool, ...]

    def __call__(self, consts: Arrays, given: Arrays) -> tuple[Any, ...]:
        """Results. `consts` are those of the program as a kernel reads them; unused arguments may be `None`."""
        return tuple(evaluate(self.jaxpr, consts, given, [True] * len(self.jaxpr.outvars), {}))


def make_program(function: Callable[..., Arrays], avals: Arrays, rewrites: Mapping[str, Rewrite]) -> Program:
    """The program of `function`, without calls and without operations that no result needs."""
    avals = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    traced = jax.make_jaxpr(lambda *given: tuple(function(*given)))(*avals)
    wanted = [True] * len(traced.jaxpr.outvars)

    def inlined(*given: Any) -> tuple[Any, ...]:
        return tuple(evaluate(traced.jaxpr, traced.consts, given, wanted, rewrites))

    closed = jax.make_jaxpr(inlined)(*avals)
    _, needed = _live(closed.jaxpr, wanted)
    return Program(closed.jaxpr, tuple(closed.consts), tuple(a in needed for a in closed.jaxpr.invars))


def evaluate(
    jaxpr: Jaxpr, consts: Arrays, given: Arrays, wanted: Sequence[bool], rewrites: Mapping[str, Rewrite]
) -> list[Any]:
    """Results that are wanted, `None` for the others; calls are inlined."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *given), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values.get(atom)

    equations, needed = _live(jaxpr, wanted)
    for equation in equations:
        arguments, name = [read(a) for a in equation.invars], equation.primitive.name
        found: Arrays | None
        if name in CALLS:
            inner = equation.params[CALLS[name]]
            body, held = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
            found = evaluate(body, held, arguments, [v in needed for v in equation.outvars], rewrites)
        else:
            found = rewrites[name](equation, *arguments) if name in rewrites else None
            found = bind_equation(equation, arguments) if found is None else found
        values.update(zip(equation.outvars, found, strict=True))
    return [read(a) if want else None for a, want in zip(jaxpr.outvars, wanted, strict=True)]


def _live(jaxpr: Jaxpr, wanted: Sequence[bool]) -> tuple[list[JaxprEqn], set[Any]]:
    """The operations that wanted results need, in order, and all variables that these need."""
    needed = {a for a, want in zip(jaxpr.outvars, wanted, strict=True) if want and not isinstance(a, Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if any(v in needed for v in equation.outvars):
            kept.append(equation)
            needed |= {a for a in equation.invars if not isinstance(a, Literal)}
    return kept[::-1], needed
