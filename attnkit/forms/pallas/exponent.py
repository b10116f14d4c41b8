"""Exponentials as powers of 2, for which a GPU has an operation: `exp` takes seven more.

The exponent is a sum of arrays times numbers, as `0.125 q k + marks - lse`. What rows or columns add to it is
summed up first, and the number of the pairs goes last, where it costs no digits, as in
`0.125 (q k + 8 (marks - lse))`: two or three operations for a pair. A pair that the mask hides has weight 0.

The relative error is as many roundings in float32 as the largest term is large, not the exponent `x` itself:
terms of rows and of columns that cancel, as the sums of gates of `fox`, lose digits. It passes one rounding
of bfloat16 where such sums reach about 1e5.
"""

import collections
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.jax_api import Literal

LOG2_E = 1.4426950408889634
Read = Callable[[Any], Any]


class Exponents:
    """The exponentials of a program.

    Attributes:
        makers: the operation that made each variable.
        uses: how often each is used.
    """

    def __init__(self, jaxpr: Any, makers: Mapping[Any, Any]):
        used = [*(a for equation in jaxpr.eqns for a in equation.invars), *jaxpr.outvars]
        self.makers, self.uses = makers, collections.Counter(a for a in used if not isinstance(a, Literal))

    def power(self, equation: Any, read: Read) -> Any:
        """The result of an `exp`."""
        shape: Any = equation.outvars[0].aval.shape
        hidden: list[Any] = []
        found = self.terms(equation.invars[0], 1.0, hidden)
        terms = [(factor, self.narrowest(atom, read)) for factor, atom in found]
        terms.sort(key=lambda term: -term[1].size)
        common, sums = terms[0][0], dict[Any, Any]()
        for factor, value in terms:
            more = times(factor / common, value)
            sums[value.shape] = sums[value.shape] + more if value.shape in sums else more
        total = functools.reduce(operator.add, sums.values())
        power: Any = jnp.exp2(jnp.broadcast_to(total, shape) * (common * LOG2_E))
        for which, is_true in hidden:
            cases = (power, jnp.zeros_like(power))
            power = jax.lax.select_n(read(which), *(cases if is_true else cases[::-1]))
        return power

    def terms(self, atom: Any, factor: float, hidden: list[Any]) -> Iterator[tuple[float, Any]]:
        """Numbers and arrays whose products add up to `factor` times an array.

        Where it is -inf by a choice, `hidden` gets what chooses, and whether it does so if that is true.
        """
        made: Any = None if isinstance(atom, Literal) or self.uses[atom] > 1 else self.makers.get(atom)
        name, given = (made.primitive.name, made.invars) if made else ("", [])
        nothing = [self.is_nothing(a) for a in given[1:]]
        if name in ("add", "add_any", "sub"):
            yield from self.terms(given[0], factor, hidden)
            yield from self.terms(given[1], -factor if name == "sub" else factor, hidden)
        elif name == "neg":
            yield from self.terms(given[0], -factor, hidden)
        elif name == "mul" and any(is_number(a) for a in given):
            number, other = given if is_number(given[0]) else given[::-1]
            yield from self.terms(other, factor * float(number.val), hidden)
        elif name == "select_n" and len(nothing) == 2 and any(nothing) and factor > 0:
            hidden.append((given[0], nothing[1]))
            yield from self.terms(given[1 + nothing[0]], factor, hidden)
        else:
            yield factor, atom

    def is_nothing(self, atom: Any) -> bool:
        """Whether an array is -inf everywhere."""
        if isinstance(atom, Literal):
            return bool(atom.val == -jnp.inf)
        made = self.makers.get(atom)
        return (
            made is not None and made.primitive.name == "broadcast_in_dim" and self.is_nothing(made.invars[0])
        )

    def narrowest(self, atom: Any, read: Read) -> Any:
        """An array, of a broadcast vector one with an axis of one entry."""
        made: Any = None if isinstance(atom, Literal) else self.makers.get(atom)
        if made is None or made.primitive.name != "broadcast_in_dim" or made.invars[0].aval.ndim != 1:
            return jnp.asarray(read(atom))
        aval: Any = atom.aval
        (axis,) = made.params["broadcast_dimensions"]
        thin = tuple(n if at == axis else 1 for at, n in enumerate(aval.shape))
        return jax.lax.broadcast_in_dim(read(made.invars[0]), thin, (int(axis),))


def is_number(atom: Any) -> bool:
    """Whether an argument is a number by which one may divide and multiply without leaving float32."""
    return isinstance(atom, Literal) and 1e-6 < abs(float(atom.val)) < 1e6


def times(factor: float, value: Any) -> Any:
    """A product with a number that may be one."""
    return value if factor == 1 else -value if factor == -1 else factor * value
