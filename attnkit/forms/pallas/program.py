"""Functions of blocks as flat programs of operations that kernels have."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from attnkit.jax_api import Jaxpr, JaxprEqn, Literal, bind_equation

Arrays = Sequence[Any]
#: `rewrite(equation, arguments, rewrites)`: results of an operation, or `None` for the usual way
Rewrite = Callable[..., Arrays | None]
Rewrites = Mapping[str, Rewrite]
#: operations that are programs of others, and the parameter that holds the program
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
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

    def __call__(self, given: Arrays) -> tuple[Any, ...]:
        """Results; unused arguments may be `None`."""
        return tuple(solve(self.jaxpr, self.jaxpr.outvars, known(self.jaxpr, self.consts, given)))

    def computed(
        self,
        results: Callable[[dict[Any, Any]], Arrays],
        grow: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: shape,
    ) -> "Program":
        """The program that computes its results in another way, from the values of constants and arguments.

        `grow` gives the shapes of its arguments from those that they have.
        """
        inputs: Any = self.jaxpr.invars
        avals = [jax.ShapeDtypeStruct(grow(v.aval.shape), v.aval.dtype) for v in inputs]
        closed = jax.make_jaxpr(lambda *given: results(known(self.jaxpr, self.consts, given)))(*avals)
        return dataclasses.replace(self, jaxpr=closed.jaxpr, consts=tuple(closed.consts))


def make_program(function: Callable[..., Arrays], avals: Arrays, rewrites: Rewrites | None = None) -> Program:
    """The program of `function`, without calls and without operations that no result needs."""
    avals = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    closed = jax.make_jaxpr(lambda *given: tuple(function(*given)))(*avals)
    for some in (rewrites, None):  # what takes the place of an operation may be a call itself

        def inlined(*given: Any, old: Any = closed, some: Any = some) -> tuple[Any, ...]:
            return tuple(solve(old.jaxpr, old.jaxpr.outvars, known(old.jaxpr, old.consts, given), some))

        closed = jax.make_jaxpr(inlined)(*avals)
    needed = operations_between(closed.jaxpr, closed.jaxpr.outvars, {})[1]
    return Program(closed.jaxpr, tuple(closed.consts), tuple(a in needed for a in closed.jaxpr.invars))


def known(jaxpr: Jaxpr, consts: Arrays, given: Arrays) -> dict[Any, Any]:
    """The values of a program's constants and arguments."""
    return dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *given), strict=True))


def evaluate(
    jaxpr: Jaxpr, values: Mapping[Any, Any], compute: Callable[[JaxprEqn, list[Any]], Arrays]
) -> list[Any]:
    """The results of a program whose operations `compute(equation, arguments)` computes."""
    values = dict(values)

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        found = compute(equation, [read(a) for a in equation.invars])
        values.update(zip(equation.outvars, found, strict=True))
    return [read(a) for a in jaxpr.outvars]


def solve(
    jaxpr: Jaxpr, wanted: Arrays, values: Mapping[Any, Any], rewrites: Rewrites | None = None
) -> list[Any]:
    """The values of some variables of a program from those of others, with the operations in between."""
    values, rewrites = dict(values), rewrites or {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values.get(atom)

    equations, needed = operations_between(jaxpr, wanted, values)
    for equation in equations:
        arguments, name = [read(a) for a in equation.invars], equation.primitive.name
        found: Arrays | None
        if name in CALLS:
            inner = equation.params[CALLS[name]]
            body, held = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
            used = [out for v, out in zip(equation.outvars, body.outvars, strict=True) if v in needed]
            made = iter(solve(body, used, known(body, held, arguments), rewrites))
            found = [next(made) if v in needed else None for v in equation.outvars]
        else:
            found = rewrites[name](equation, arguments, rewrites) if name in rewrites else None
            found = bind_equation(equation, arguments) if found is None else found
        values.update((v, a) for v, a in zip(equation.outvars, found, strict=True) if v not in values)
    return [read(a) for a in wanted]


def operations_between(
    jaxpr: Jaxpr, wanted: Arrays, values: Mapping[Any, Any]
) -> tuple[list[JaxprEqn], set[Any]]:
    """The operations between known variables and wanted ones, in order, and all variables that these need."""
    needed = {a for a in wanted if not isinstance(a, Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if any(v in needed and v not in values for v in equation.outvars):
            kept.append(equation)
            needed |= {a for a in equation.invars if not isinstance(a, Literal)}
    return kept[::-1], needed
