"""Interventions: what happens to a model's output if something inside is another.

All are pure functions of a model, a metric of its output and the model's arguments. A sweep over heads,
places or edges is one mapped program.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnkit.inspection.heads import (
    OUTPUT,
    Metric,
    Model,
    all_heads,
    blended,
    head_outputs,
    head_shapes,
    one_hot,
)
from attnkit.inspection.maps import Head
from attnkit.points import names, observe

Fill = Literal["zero", "mean", "resample"]
LOGITS = "logits"
#: Runs of a sweep that are computed side by side.
TOGETHER = 16


class Edge(NamedTuple):
    """A path from a head to an input (`q`, `k`, `v`, ...) of a head above, or to the `logits`.

    >>> str(Edge(Head("decoder.0.self", 1), Head("decoder.1.self", 0), "k"))
    'L0H1 -> L1H0.k'
    """

    sender: Head
    receiver: Head | None
    by: str

    def __str__(self) -> str:
        return f"{self.sender} -> {self.by if self.receiver is None else f'{self.receiver}.{self.by}'}"


def ablate(
    f: Model, metric: Metric, *args: Any, fill: Fill = "zero", other: Sequence[Any] | None = None
) -> dict[Head, np.ndarray]:
    """The metric of the model with the output of one head replaced, for every head.

    Args:
        f: the model.
        metric: of its output.
        *args: its arguments.
        fill: `zero`; `mean`, of the head's outputs over examples and tokens; `resample`, those on other
            arguments, by default on the next example of the batch.
        other: those other arguments.

    Source: Michel et al. 2019, arXiv 1905.10650; resampling Chan et al. 2022, causal scrubbing.
    """
    shapes = head_shapes(f, *args)
    heads = all_heads(f, *args)
    given = tuple(args if other is None else other)
    if fill == "resample" and other is None:
        given = tuple(jax.tree.map(lambda a: jnp.roll(a, 1, axis=0), given))

    def run(args: Any, given: Any, gates: Any) -> Array:
        base = head_outputs(f, list(shapes), *given) if fill != "zero" else {}

        def replacement(path: str, old: Array) -> Array:
            if fill == "zero":
                return jnp.zeros_like(old)
            return base[path] if fill == "resample" else base[path].mean((0, 2), keepdims=True)

        def one(gate: Mapping[str, Array]) -> Array:
            def edit(path: str) -> Callable[[Array], Array]:
                return lambda old: blended(gate[path], replacement(path, old), old)

            edits = {f"{path}.{OUTPUT}": edit(path) for path in shapes}
            return metric(observe(f, edit=edits)(*args).output)

        return sweep(one, gates, len(heads))

    found = np.asarray(jax.jit(run)(tuple(args), given, one_hot(heads, shapes)))
    return dict(zip(heads, found, strict=True))


def sweep(run: Callable[[Any], Array], cases: Any, count: int) -> Array:
    """`run` of each of `count` cases, up to `TOGETHER` side by side in groups of one size: compiled once."""
    groups = -(-count // TOGETHER)
    size = -(-count // groups)
    more = jnp.minimum(jnp.arange(groups * size), count - 1)
    return jax.lax.map(run, jax.tree.map(lambda a: a[more], cases), batch_size=size)[:count]


def gate_gradients(f: Model, metric: Metric, *args: Any) -> dict[Head, float]:
    """Derivative of the (summed) metric by a factor on each head's output, at 1.

    Its size is the head's importance to first order: where the metric is linear in the head's output it is
    the change that zero ablation makes, with the opposite sign.

    Source: Michel et al. 2019, arXiv 1905.10650, equation 2.
    """
    shapes = head_shapes(f, *args)

    def total(gates: Mapping[str, Array]) -> Array:
        def edit(path: str) -> Callable[[Array], Array]:
            return lambda z: (z * gates[path][None, :, None, None]).astype(z.dtype)

        edits = {f"{path}.{OUTPUT}": edit(path) for path in shapes}
        return jnp.sum(metric(observe(f, edit=edits)(*args).output))

    slopes = jax.jit(jax.grad(total))({path: jnp.ones(shape[1]) for path, shape in shapes.items()})
    return {head: float(slopes[head.map][head.head]) for head in all_heads(f, *args)}


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's rank correlation of two rows of numbers, ties sharing their ranks; NaN if one is constant.

    >>> round(rank_correlation([1, 2, 3], [10, 30, 20]), 6)
    0.5
    """
    ranks = [ranked(np.asarray(one, np.float64)) for one in (a, b)]
    if any(np.ptp(one) == 0 for one in ranks):
        return float("nan")
    return float(np.corrcoef(np.stack(ranks))[0, 1])


def ranked(values: np.ndarray) -> np.ndarray:
    """Mean rank of each value."""
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


def patch(
    f: Model, metric: Metric, dirty: Any, clean: Any, point: str, *, axes: Sequence[int] = (1,)
) -> np.ndarray:
    """The metric of the run on `dirty` with pieces of a point from the run on `clean`.

    Args:
        f: the model, of one argument.
        metric: of its output.
        dirty: argument of the run that is patched.
        clean: argument of the run that the pieces come from, of the same shapes.
        point: name of the point.
        axes: axes of the point along which it is cut into pieces: `(1,)` for the places of the residual
            stream or the heads of a layer, `(1, 2)` for heads and places.

    Returns:
        The metric, with leading axes of the pieces.

    Source: activation patching, Meng et al. 2022 (ROME), arXiv 2202.05262, section 2.
    """

    def run(dirty: Any, clean: Any) -> Array:
        value = observe(f, read=[point])(clean).values[point]
        sizes = [value.shape[axis] for axis in axes]
        masks = jnp.eye(int(np.prod(sizes)), dtype=bool).reshape(-1, *sizes)
        rest = [axis for axis in range(value.ndim) if axis not in axes]

        def one(mask: Bool[Array, "..."]) -> Array:
            wide = jnp.expand_dims(mask, rest)
            edit = {point: lambda old: jnp.where(wide, value, old)}
            return metric(observe(f, edit=edit)(dirty).output)

        found = jax.vmap(one)(masks)
        return found.reshape(*sizes, *found.shape[1:])

    return np.asarray(jax.jit(run)(dirty, clean))


def possible_edges(f: Model, base: Any, *, inputs: Sequence[str] = ("q", "k", "v")) -> list[Edge]:
    """All edges from heads to inputs of heads in later layers, and to the logits; nothing is computed."""
    points = names(f, base)
    order = {path: n for n, path in enumerate(head_shapes(f, base))}
    heads = all_heads(f, base)
    return [
        Edge(a, b, by)
        for a in heads
        for b in heads
        for by in inputs
        if order[a.map] < order[b.map] and f"{b.map}.{by}" in points
    ] + [Edge(a, None, LOGITS) for a in heads]


def path_effects(
    f: Model, metric: Metric, base: Any, other: Any, *, inputs: Sequence[str] = ("q", "k", "v")
) -> dict[Edge, np.ndarray]:
    """The metric of the run on `base` when one head's output on `other` reaches one input of one head above.

    Nothing else learns of the change: all other heads keep their outputs while it travels, and the receiver
    alone reads it. Edges to the logits are those past all other heads.

    Args:
        f: the model, of one argument.
        metric: of its output.
        base: argument of the run that is changed.
        other: argument that the senders' outputs come from, of the same shapes.
        inputs: inputs of receivers: names of points `[batch, heads or kv_heads, tokens, dim]`.

    Source: Wang et al. 2022, arXiv 2211.00593, section 3.1; Goldowsky-Dill et al. 2023, arXiv 2304.05969.
    """
    shapes, points = head_shapes(f, base), names(f, base)
    edges = possible_edges(f, base, inputs=inputs)
    targets = sorted({f"{edge.receiver.map}.{edge.by}" for edge in edges if edge.receiver is not None})

    def slot(edge: Edge, point: str) -> list[float]:
        """1 at the receiver's place among the heads of a point, which groups of heads may share."""
        count = points[point].shape[1]
        to = edge.receiver
        if to is None or f"{to.map}.{edge.by}" != point:
            return [0.0] * count
        return [float(n == to.head * count // shapes[to.map][1]) for n in range(count)]

    places = {point: jnp.array([slot(edge, point) for edge in edges]) for point in targets}
    senders = one_hot([edge.sender for edge in edges], shapes)
    direct = jnp.array([edge.receiver is None for edge in edges])

    def run(base: Any, other: Any) -> Array:
        new, old = (head_outputs(f, list(shapes), x) for x in (other, base))

        def one(case: tuple[Any, Any, Array]) -> Array:
            sender, place, past = case
            frozen = {
                f"{path}.{OUTPUT}": lambda _, path=path: blended(sender[path], new[path], old[path])
                for path in shapes
            }
            travelled = observe(f, read=targets, edit=frozen)(base)
            edit = {
                point: lambda z, point=point: blended(place[point], travelled.values[point], z)
                for point in targets
            }
            received = metric(observe(f, edit=edit)(base).output)
            return jnp.where(past, metric(travelled.output), received)

        return sweep(one, (senders, places, direct), len(edges))

    found = np.asarray(jax.jit(run)(base, other))
    return dict(zip(edges, found, strict=True))


def knock_out(
    f: Model,
    edges: Mapping[str, Bool[Array, "..."]],
    *args: Any,
    by: Literal["scores", "weights"] = "weights",
) -> Any:
    """The output of the model without some edges of attention.

    Args:
        f: the model.
        edges: by path of a layer, the pairs that may no longer attend: `[heads, queries, keys]`, or with a
            leading axis of the batch, or of one place wherever all are alike.
        *args: arguments of the model.
        by: `scores` sets them to -inf, so that the other weights of a softmax grow; `weights` sets weights to
            0 and leaves the others, which recurrences and approximations have, too.

    Source: Geva et al. 2023, arXiv 2304.14767, section 3.
    """

    def cut(path: str) -> Callable[[Array], Array]:
        none = -jnp.inf if by == "scores" else 0
        return lambda a: jnp.where(edges[path], none, a)

    return observe(f, edit={f"{path}.{by}": cut(path) for path in edges})(*args).output


def steer(
    f: Model, point: str, vector: Float[Array, "..."], *args: Any, places: Bool[Array, "..."] | None = None
) -> Any:
    """The output of the model with a vector added to a point, everywhere or at some places.

    Args:
        f: the model.
        point: name of the point, such as `decoder.1.residual`.
        vector: what is added; broadcast to the point.
        *args: arguments of the model.
        places: where it is added; broadcast to all axes of the point but the last.

    Source: Turner et al. 2023, arXiv 2308.10248; the difference of two runs as vector.
    """

    def add(old: Array) -> Array:
        new = old + vector
        return new if places is None else jnp.where(places[..., None], new, old)

    return observe(f, edit={point: add})(*args).output


def interval(
    values: Any, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Bootstrap interval of the mean of independent numbers: percentiles of resampled means.

    `None` for one number, which says nothing of its spread.

    >>> interval([1.0, 1.0, 1.0]), interval([1.0])
    ((1.0, 1.0), None)
    """
    numbers = np.asarray(values, np.float64).ravel()
    if len(numbers) < 2:
        return None
    rows = np.random.default_rng(seed).integers(len(numbers), size=(draws, len(numbers)))
    low, high = np.quantile(numbers[rows].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
