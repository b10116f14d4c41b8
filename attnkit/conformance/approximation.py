"""How far an approximation is from the attention it approximates, as a function of its budget."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.approximate.contract import Approximate, per_head, softmax
from attnkit.variant import HeadShape


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Random inputs: entries of queries, keys and values are independent and normal.

    Attributes:
        tokens: length of the sequence.
        dim: width of queries, keys and values.
        scale: standard deviation of an entry of a query or key. Scores then have that of `scale^2`.
    """

    tokens: int = 128
    dim: int = 32
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Error:
    """Relative Frobenius errors at one budget: mean and standard deviation over seeds.

    Attributes:
        variant: the class's name.
        budget: name of the option that was varied; empty for none.
        value: its value.
        seeds: how many.
        matrix: of the matrix, against softmax attention.
        output: of the output.
        target: of the matrix, against what the variant approximates where that is not softmax attention of
            the same queries and keys.
    """

    variant: str
    budget: str
    value: int
    seeds: int
    matrix: tuple[float, float]
    output: tuple[float, float]
    target: tuple[float, float]


def error(
    variant: Approximate,
    budgets: Sequence[int] = (),
    seeds: Iterable[int] = range(8),
    inputs: Inputs | None = None,
) -> list[Error]:
    """Errors against exact attention, one row for each budget.

    Args:
        variant: an approximation with queries and keys and a matrix. Its option `length`, if it has one,
            becomes the number of tokens. What it would learn stays as it starts.
        budgets: values of its option `variant.budget`; by default the value that it has.
        seeds: of inputs, parameters and random constants together.
        inputs: sizes and scale.

    Raises:
        ValueError: if there is no matrix over queries and keys to compare, or no option to vary.
    """
    inputs, seeds, name = inputs or Inputs(), list(seeds), type(variant).__name__
    if variant.mapless or variant.channels or "key" not in variant.projections:
        reason = variant.mapless or "its weights are not those of queries and keys"
        raise ValueError(f"{name} has no error against softmax attention: {reason}")
    if budgets and not variant.budget:
        raise ValueError(f"budgets = {tuple(budgets)}: {name} has no option that buys accuracy; give none")
    values = budgets or ([getattr(variant, variant.budget)] if variant.budget else [0])
    rows = []
    for value in values:
        sized: Any = {variant.budget: value} if variant.budget else {}
        if hasattr(variant, "length"):
            sized["length"] = inputs.tokens
        one: Any = dataclasses.replace(variant, **sized)  # type: ignore[type-var]
        found = jax.vmap(lambda seed, one=one: of_one(one, inputs, seed))
        errors = jax.tree.map(np.asarray, jax.jit(found)(jnp.array(seeds, jnp.uint32)))
        summed = {part: spread(a) for part, a in errors.items()}
        rows.append(Error(name, variant.budget, value, len(seeds), **summed))
    return rows


def of_one(variant: Approximate, inputs: Inputs, seed: Any) -> Mapping[str, jax.Array]:
    """The errors of one draw."""
    keys = jax.random.split(jax.random.key(seed), 6)
    q, k, v = (jax.random.normal(key, (inputs.tokens, inputs.dim)) for key in keys[:3])
    q, k = inputs.scale * q, inputs.scale * k
    shape = HeadShape(1, inputs.dim, inputs.dim)
    p = per_head({**variant.init(keys[3], shape), **variant.constants(keys[4], shape)})
    tokens = {
        name: (need.bias or 0.0) + jax.random.normal(keys[5], (inputs.tokens, need.width))
        for name, need in variant.inputs(shape).items()
    }
    p = {**p, **tokens}
    allowed = variant.allowed(jnp.arange(inputs.tokens), inputs.tokens, inputs.tokens)
    plain = softmax(q @ k.T * inputs.dim**-0.5, allowed)
    matrix = variant.matrix(p, q, k)
    return {
        "matrix": relative(matrix, plain),
        "output": relative(matrix @ v, plain @ v),
        "target": relative(matrix, variant.exact(p, q, k)),
    }


def relative(got: jax.Array, true: jax.Array) -> jax.Array:
    """`|got - true| / |true|`, Frobenius norms."""
    return jnp.linalg.norm(got - true) / jnp.linalg.norm(true)


def spread(a: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation."""
    return float(a.mean()), float(a.std(ddof=min(1, len(a) - 1)))


def slope(rows: Sequence[Error], part: str = "matrix") -> float:
    """The exponent `a` of the law `error ~ budget^a` that fits the means: least squares of logarithms."""
    budgets = np.log([row.value for row in rows])
    return float(np.polyfit(budgets, np.log([getattr(row, part)[0] for row in rows]), 1)[0])
