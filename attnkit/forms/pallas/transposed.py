"""Programs that hold matrices of pairs as `[columns, rows]`.

A program that owns a block of columns multiplies weights and their derivatives by matrices of rows: as
`[rows, columns]` they would have to be transposed first, through shared memory, or computed twice.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.forms.pallas.padded import ELEMENTWISE
from attnkit.forms.pallas.program import Program
from attnkit.jax_api import Literal, bind_equation

Labels = tuple[str | None, ...]
PAIRS: Labels = ("row", "column")
REDUCTIONS = ("argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum")


def transpose_pairs(program: Program, kinds: Sequence[str]) -> Program:
    """The program with its matrices of pairs transposed. `kinds` tells what each argument is of."""
    jaxpr: Any = program.jaxpr
    labels = label(jaxpr, kinds)
    if PAIRS not in labels.values():
        return program

    return program.computed(lambda values: Transposed(labels, values).solve(jaxpr))


def label(jaxpr: Any, kinds: Sequence[str]) -> dict[Any, Labels]:
    """For each axis of each array, whose tokens it is of; `None` if of none, or not known."""
    found: dict[Any, Labels] = {v: (None,) * v.aval.ndim for v in jaxpr.constvars}
    for v, kind in zip(jaxpr.invars, kinds, strict=True):
        first = None if kind == "shared" else kind
        found[v] = (first, *(None,) * (v.aval.ndim - 1))[: v.aval.ndim]

    def labels_of(atom: Any) -> Labels:
        if isinstance(atom, Literal):
            return (None,) * np.ndim(atom.val)
        return found[atom]

    for equation in jaxpr.eqns:
        given = [*map(labels_of, equation.invars)]
        for v in equation.outvars:
            found[v] = label_of(equation, given, v.aval.ndim)
    return found


def label_of(equation: Any, given: Sequence[Labels], ndim: int) -> Labels:
    """The axes of a result."""
    name, unknown = equation.primitive.name, (None,) * ndim
    avals: Any = [a.aval for a in equation.invars]
    if name in ELEMENTWISE:
        same = [one for one in given if len(one) == ndim]
        return tuple(next(filter(None, axis), None) for axis in zip(*same, strict=True)) if same else unknown
    if name == "broadcast_in_dim":
        places = equation.params["broadcast_dimensions"]
        new = dict(zip(places, given[0], strict=True))
        grown = {p for p, n in zip(places, avals[0].shape, strict=True) if n != equation.params["shape"][p]}
        return tuple(None if n in grown else new.get(n) for n in range(ndim))
    if name == "transpose":
        return tuple(given[0][n] for n in equation.params["permutation"])
    if name in REDUCTIONS:
        return tuple(one for n, one in enumerate(given[0]) if n not in equation.params["axes"])
    if name == "dot_general" and not any(equation.params["dimension_numbers"][1]):
        of_a, of_b = equation.params["dimension_numbers"][0]
        return tuple(
            one
            for labels, summed in zip(given, (of_a, of_b), strict=True)
            for n, one in enumerate(labels)
            if n not in summed
        )
    return unknown


@dataclasses.dataclass
class Transposed:
    """Values of a program, those of pairs transposed.

    Attributes:
        labels: of the axes of every variable, as the program has them.
        values: of variables.
        makers: the operations that made them.
    """

    labels: Mapping[Any, Labels]
    values: dict[Any, Any]
    makers: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def solve(self, jaxpr: Any) -> list[Any]:
        """The results, as the program has them."""
        for equation in jaxpr.eqns:
            self.values.update(zip(equation.outvars, self.compute(equation), strict=True))
            self.makers |= dict.fromkeys(equation.outvars, equation)
        return [self.straight(a) for a in jaxpr.outvars]

    def is_transposed(self, atom: Any) -> bool:
        """Whether a value is held transposed."""
        return not isinstance(atom, Literal) and self.labels[atom] == PAIRS

    def straight(self, atom: Any) -> Any:
        """A value as the program has it."""
        if isinstance(atom, Literal):
            return atom.val
        return jnp.transpose(self.values[atom]) if self.is_transposed(atom) else self.values[atom]

    def transposed(self, atom: Any) -> Any:
        """The transpose of a value; a number is its own, and a broadcast is made anew."""
        if self.is_transposed(atom):
            return self.values[atom]
        if isinstance(atom, Literal) or not atom.aval.ndim:
            return self.straight(atom)
        made = self.makers.get(atom)
        if made is None or made.primitive.name != "broadcast_in_dim":
            return jnp.transpose(self.straight(atom))
        source, shape = self.straight(made.invars[0]), atom.aval.shape[::-1]
        if source.ndim == 2:
            return jnp.broadcast_to(source.T, shape)
        places = tuple(1 - n for n in made.params["broadcast_dimensions"])
        return jax.lax.broadcast_in_dim(source, shape, places)

    def compute(self, equation: Any) -> Sequence[Any]:
        """The results of an operation, transposed where they are of pairs."""
        name, given = equation.primitive.name, equation.invars
        makes_pairs = self.is_transposed(equation.outvars[0])
        if makes_pairs and name in ELEMENTWISE:
            return bind_equation(equation, [self.transposed(a) for a in given])
        if is_plain_product(equation) and (makes_pairs or any(map(self.is_transposed, given))):
            return self.product(equation, makes_pairs)
        if name == "transpose" and (makes_pairs or self.is_transposed(given[0])):
            return [self.values[given[0]]]
        before = self.makers.get(given[0]) if name == "transpose" else None
        if before and is_plain_product(before) and tuple(equation.params["permutation"]) == (1, 0):
            return self.product(before, exchanged=True)
        if name in REDUCTIONS and self.is_transposed(given[0]):
            axes = tuple(1 - n for n in equation.params["axes"])
            return bind_equation(changed(equation, axes=axes), [self.values[given[0]]])
        made = bind_equation(equation, [self.straight(a) for a in given])
        return [jnp.transpose(made[0])] if makes_pairs else made

    def product(self, equation: Any, exchanged: bool) -> Sequence[Any]:
        """A product of matrices, some of them held transposed; its transpose if they are exchanged."""
        summed, _ = equation.params["dimension_numbers"]
        sides = []
        for atom, axes in zip(equation.invars, summed, strict=True):
            flip = self.is_transposed(atom)
            value = self.values[atom] if flip else self.straight(atom)
            sides.append((value, tuple(1 - n for n in axes) if flip else axes))
        values, axes = zip(*(reversed(sides) if exchanged else sides), strict=True)
        return bind_equation(changed(equation, dimension_numbers=(axes, ((), ()))), values)


def is_plain_product(equation: Any) -> bool:
    """Whether an operation is a product of two matrices; such have no batch axes."""
    arrays = (*equation.invars, *equation.outvars)
    return equation.primitive.name == "dot_general" and all(a.aval.ndim == 2 for a in arrays)


def changed(equation: Any, **params: Any) -> Any:
    """The operation with other parameters."""
    return equation.replace(params={**equation.params, **params})
