"""How far an approximation is from the attention it approximates, as a function of its budget."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.approximate.contract import Approximate, per_head, softmax
from attnkit.forms import recurrent_weights
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.recurrence.variant.linear import Linear
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
    variant: Approximate | Linear,
    budgets: Sequence[int] = (),
    seeds: Iterable[int] = range(8),
    inputs: Inputs | None = None,
) -> list[Error]:
    """Errors against exact attention, one row for each budget.

    Args:
        variant: an approximation with queries and keys and a matrix, or linear attention, whose feature map
            has the budget. An option `length` becomes the number of tokens. Parameters stay as they start.
        budgets: values of the option `budget`; by default the value that it has.
        seeds: of inputs, parameters and random constants together.
        inputs: sizes and scale.

    Raises:
        ValueError: if there is no matrix over queries and keys to compare, or no option to vary.
    """
    inputs, seeds = inputs or Inputs(), list(seeds)
    part: Approximate | FeatureMap = variant.feature if isinstance(variant, Linear) else variant
    name = type(part).__name__
    if isinstance(part, Approximate) and (part.mapless or part.channels or "key" not in part.projections):
        reason = part.mapless or "its weights are not those of queries and keys"
        raise ValueError(f"{name} has no error against softmax attention: {reason}")
    if budgets and not part.budget:
        raise ValueError(f"budgets = {tuple(budgets)}: {name} has no option that buys accuracy; give none")
    values = budgets or ([getattr(part, part.budget)] if part.budget else [0])
    rows = []
    for value in values:
        sized: Any = {part.budget: value} if part.budget else {}
        if hasattr(part, "length"):
            sized["length"] = inputs.tokens
        one: Any = dataclasses.replace(part, **sized)  # type: ignore[type-var]
        if isinstance(variant, Linear):
            one = dataclasses.replace(variant, feature=one)
        measure = of_features if isinstance(variant, Linear) else of_one
        found = jax.vmap(lambda seed, one=one, measure=measure: measure(one, inputs, seed))
        errors = jax.tree.map(np.asarray, jax.jit(found)(jnp.array(seeds, jnp.uint32)))
        summed = {part: spread(a) for part, a in errors.items()}
        rows.append(Error(name, part.budget, value, len(seeds), **summed))
    return rows


def draw(inputs: Inputs, seed: Any) -> tuple[jax.Array, jax.Array, jax.Array, list[jax.Array]]:
    """Queries, keys and values, and three keys for the rest."""
    keys = jax.random.split(jax.random.key(seed), 6)
    q, k, v = (jax.random.normal(key, (inputs.tokens, inputs.dim)) for key in keys[:3])
    return inputs.scale * q, inputs.scale * k, v, list(keys[3:])


def of_one(variant: Approximate, inputs: Inputs, seed: Any) -> Mapping[str, jax.Array]:
    """The errors of one draw."""
    q, k, v, keys = draw(inputs, seed)
    shape = HeadShape(1, inputs.dim, inputs.dim)
    p = per_head({**variant.init(keys[0], shape), **variant.constants(keys[1], shape)})
    allowed = variant.allowed(jnp.arange(inputs.tokens), inputs.tokens, inputs.tokens)
    return compared(variant.matrix(p, q, k), variant.exact(p, q, k), q, k, v, allowed)


def of_features(variant: Linear, inputs: Inputs, seed: Any) -> Mapping[str, jax.Array]:
    """The errors of one draw of linear attention, against softmax and against the kernel it estimates."""
    q, k, v, keys = draw(inputs, seed)
    shape = HeadShape(1, inputs.dim, inputs.dim)
    p = {**variant.init(keys[0], shape), **variant.random_constants(keys[1], shape)}
    given = {"q": q[None], "k": k[None], "v": v[None]}
    allowed = jnp.tri(inputs.tokens, dtype=bool) | (variant.direction == "both")
    logs = jnp.zeros(allowed.shape)
    if variant.forget_gate:
        raw = jax.random.normal(keys[2], (inputs.tokens, 1))
        given["forget_gate"] = raw[None]
        kept = jnp.cumsum(jax.nn.log_sigmoid(raw[:, 0]))
        logs = jnp.where(allowed, kept[:, None] - kept, 0) + jax.nn.log_sigmoid(-raw[:, 0])
    own = {name.split("_", 1)[1]: a[0] for name, a in p.items() if not name.startswith("key_")}
    target = jnp.where(allowed, variant.feature.kernel(own, q, k) * jnp.exp(logs), 0)
    exact = target / jnp.sum(target, axis=1, keepdims=True)
    return compared(recurrent_weights(variant, shape, p, given)[0], exact, q, k, v, allowed)


def compared(
    matrix: jax.Array, exact: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array, allowed: jax.Array
) -> dict[str, jax.Array]:
    """Errors of a matrix against softmax attention, and against `exact`."""
    plain = softmax(q @ k.T * q.shape[1] ** -0.5, allowed)
    return {
        "matrix": relative(matrix, plain),
        "output": relative(matrix @ v, plain @ v),
        "target": relative(matrix, exact),
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
