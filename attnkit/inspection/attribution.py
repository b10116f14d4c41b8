"""Attribution: how much of a model's output each token, head or layer accounts for."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from attnkit.errors import DataError
from attnkit.inspection.heads import OUTPUT, Metric, Model, all_heads, head_shapes
from attnkit.inspection.maps import Head
from attnkit.points import observe

#: Nodes of the largest graph that `flow` is computed for.
MOST_NODES = 1024
#: Capacities are integers in units of this share.
UNIT = 2.0**-24


class Integrated(NamedTuple):
    """Integrated gradients.

    Attributes:
        attribution: `[batch, tokens]`, in units of the metric.
        error: `[batch]`, `|sum of attributions - change of the metric| / |change of the metric|`.
    """

    attribution: Array
    error: Array


def gradient(f: Model, metric: Metric, point: str, *args: Any) -> tuple[Array, Array]:
    """The derivative of the (summed) metric by a point, and the point's value."""

    def total(by: Array, *args: Any) -> tuple[Array, Array]:
        found = observe(f, read=[point], edit={point: lambda z: z + by})(*args)
        return jnp.sum(metric(found.output)), found.values[point]

    shape = jax.eval_shape(lambda *args: observe(f, read=[point])(*args).values[point], *args)
    slope, value = jax.jit(jax.grad(total, has_aux=True))(jnp.zeros(shape.shape, shape.dtype), *args)
    return slope, value


def input_gradient(f: Model, metric: Metric, point: str, *args: Any) -> Array:
    """Gradient times input, summed over the features of each token: `[batch, tokens]`.

    Args:
        f: the model.
        metric: of its output.
        point: the tokens' vectors, `[batch, tokens, dim]`: `decoder.embedding`, for example.
        *args: arguments of the model.

    Source: Simonyan et al. 2013, arXiv 1312.6034; Denil et al. 2014, arXiv 1412.6815.
    """
    slope, value = gradient(f, metric, point, *args)
    return jnp.sum(slope * value, axis=-1)


def integrated_gradients(
    f: Model,
    metric: Metric,
    point: str,
    *args: Any,
    baseline: Float[Array, "..."] | float = 0.0,
    steps: int = 64,
) -> Integrated:
    """The mean gradient along the line from a baseline, times the difference to it: `[batch, tokens]`.

    Args:
        f: the model.
        metric: of its output: a number for each example.
        point: the tokens' vectors.
        *args: arguments of the model.
        baseline: of the point; broadcast to it.
        steps: points of Gauss-Legendre integration along the line.

    Returns:
        Attributions, and how far their sum is from the change of the metric (completeness).

    Source: Sundararajan et al. 2017, arXiv 1703.01365, equation 1.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)

    def run(*args: Any) -> tuple[Array, Array, Array]:
        value = observe(f, read=[point])(*args).values[point]
        start = jnp.broadcast_to(jnp.asarray(baseline, value.dtype), value.shape)

        def at(z: Array) -> Array:
            return metric(observe(f, edit={point: lambda _: z})(*args).output)

        def slope(share: Array) -> Array:
            return jax.grad(lambda z: jnp.sum(at(z)))(start + share * (value - start))

        slopes = jax.lax.map(slope, jnp.asarray((nodes + 1) / 2, value.dtype))
        mean = jnp.tensordot(jnp.asarray(weights / 2, value.dtype), slopes, 1)
        return jnp.sum(mean * (value - start), axis=-1), at(value), at(start)

    found, end, begin = jax.jit(run)(*args)
    change = end - begin
    return Integrated(found, jnp.abs(found.sum(axis=-1) - change) / jnp.maximum(jnp.abs(change), 1e-30))


def attention_relevance(f: Model, metric: Metric, paths: Sequence[str], *args: Any) -> Array:
    """Relevance `[batch, queries, keys]` of each token to each, by weights times their gradients.

    `R = R + mean over heads of max(weights * gradient, 0) R`, layer by layer from the identity.

    Args:
        f: the model.
        metric: of its output.
        paths: layers of self-attention, the lowest first.
        *args: arguments of the model.

    Source: Chefer et al. 2021, arXiv 2103.15679, equations 5 and 6.
    """
    names = [f"{path}.weights" for path in paths]
    shapes = jax.eval_shape(lambda *args: observe(f, read=names)(*args).values, *args)

    def run(*args: Any) -> Array:
        def total(by: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            def moved(name: str) -> Callable[[Array], Array]:
                return lambda w: w + by[name]

            found = observe(f, read=names, edit={name: moved(name) for name in names})(*args)
            return jnp.sum(metric(found.output)), found.values

        zeros = {n: jnp.zeros(shapes[n].shape, shapes[n].dtype) for n in names}
        slopes, weights = jax.grad(total, has_aux=True)(zeros)
        relevance = jnp.eye(weights[names[0]].shape[-1])
        for n in names:
            step = jnp.mean(jnp.maximum(weights[n] * slopes[n], 0), axis=1)
            relevance = relevance + step @ relevance
        return relevance

    relevance: Array = jax.jit(run)(*args)
    return relevance


def rollout(maps: Any, residual: float = 0.5) -> np.ndarray:
    """Product over layers of `residual I + (1 - residual) A`, `A` the mean over heads: rows sum to 1.

    Args:
        maps: `[layers, ..., heads, tokens, tokens]`, the lowest layer first; rows are divided by their sum.
        residual: the share of the residual connection.

    Raises:
        DataError: for maps with negative weights.

    Source: Abnar & Zuidema 2020, arXiv 2005.00928, section 3.
    """
    found: np.ndarray | None = None
    for layer in mixed(maps, residual):
        found = layer if found is None else layer @ found
    assert found is not None
    return found


def mixed(maps: Any, residual: float) -> np.ndarray:
    """`residual I + (1 - residual) A` of each layer."""
    weights = np.asarray(maps, np.float64)
    if weights.min() < 0:
        raise DataError("maps: negative weights; rollout and flow are of shares: divide their sizes first")
    mean = weights.mean(axis=-3)
    total = mean.sum(axis=-1, keepdims=True)
    one = np.eye(mean.shape[-1])
    mean = np.where(total > 0, mean / np.where(total > 0, total, 1), one)
    return residual * one + (1 - residual) * mean


def flow(maps: Any, residual: float = 0.5) -> np.ndarray:
    """The largest flow from each token of the top to each of the input, `[tokens, tokens]`.

    Capacities are the entries of `residual I + (1 - residual) A`.

    Args:
        maps: `[layers, heads, tokens, tokens]`, the lowest layer first.
        residual: the share of the residual connection.

    Raises:
        DataError: for maps with negative weights, or a graph of more than 1024 nodes.

    Source: Abnar & Zuidema 2020, arXiv 2005.00928, section 3.
    """
    layers = mixed(maps, residual)
    depth, tokens, _ = layers.shape
    nodes = (depth + 1) * tokens
    if nodes > MOST_NODES:
        raise DataError(
            f"maps: {depth} layers of {tokens} tokens are {nodes} nodes; expected at most {MOST_NODES}: "
            "use rollout, or a shorter text"
        )
    graph = np.zeros((nodes, nodes), np.int32)
    for n, layer in enumerate(layers):
        top, low = slice((n + 1) * tokens, (n + 2) * tokens), slice(n * tokens, (n + 1) * tokens)
        graph[top, low] = np.rint(layer / UNIT).astype(np.int32)
    edges = csr_array(graph)
    ends = [(depth * tokens + i, j) for i in range(tokens) for j in range(tokens)]
    found = [maximum_flow(edges, source, sink).flow_value for source, sink in ends]
    return np.reshape(found, (tokens, tokens)) * UNIT


def logit_lens(f: Model, streams: Sequence[str], final: str, *args: Any) -> Any:
    """The model's output read from each of several points of the residual stream, on a leading axis.

    Args:
        f: the model.
        streams: names of the points, such as `decoder.0.residual`.
        final: the point after the last layer, `decoder.residual`.
        *args: arguments of the model.

    Source: nostalgebraist 2020, "Interpreting GPT: the logit lens".
    """

    def run(*args: Any) -> Any:
        values = observe(f, read=list(streams))(*args).values
        stacked = jnp.stack([values[name] for name in streams])
        return jax.vmap(lambda z: observe(f, edit={final: lambda _: z})(*args).output)(stacked)

    return jax.jit(run)(*args)


def direct_effects(f: Model, metric: Metric, final: str, *args: Any) -> dict[Head, np.ndarray]:
    """The metric less that without what a head itself added to the stream, for every head.

    What a head added is the difference that its output makes to its own layer's output. Layers above are
    not told, so the effect is the head's own (direct logit attribution, with the norm computed anew).

    Args:
        f: the model.
        metric: of its output.
        final: the point of the stream after the last layer, `decoder.residual`.
        *args: arguments of the model.

    Source: Elhage et al. 2021, transformer-circuits.pub; McGrath et al. 2023, arXiv 2307.15771.
    """
    heads = [head for head in all_heads(f, *args) if head.map in head_shapes(f, *args)]
    paths = list(dict.fromkeys(head.map for head in heads))

    def run(*args: Any) -> dict[str, Array]:
        read = [f"{path}.mixer_output" for path in paths]
        whole = observe(f, read=[*read, final])(*args)
        base = metric(whole.output)
        found = {}
        for path in paths:
            count = head_shapes(f, *args)[path][1]

            def one(gate: Array, path: str = path) -> Array:
                edit = {f"{path}.{OUTPUT}": lambda z: z * (1 - gate)[None, :, None, None]}
                name = f"{path}.mixer_output"
                without = observe(f, read=[name], edit=edit)(*args).values[name]
                added = whole.values[name] - without
                change = {final: lambda z: (z - added).astype(z.dtype)}
                return base - metric(observe(f, edit=change)(*args).output)

            found[path] = jax.vmap(one)(jnp.eye(count))
        return found

    effects = jax.jit(run)(*args)
    return {head: np.asarray(effects[head.map][head.head]) for head in heads}


def influence(f: Callable[[Array], Array], x: Float[Array, "tokens dim"], *, most: int = 4096) -> np.ndarray:
    """Norms of the Jacobian blocks `|d f(x)_i / d x_j|`, `[queries, keys]`: for mixers without a map.

    Args:
        f: from the tokens of one sequence to its outputs, `[queries, dim]`.
        x: the tokens.
        most: largest number of rows of the Jacobian.

    Raises:
        DataError: if the Jacobian has more rows.
    """
    rows = int(np.prod(jax.eval_shape(f, x).shape))
    if rows > most:
        raise DataError(f"x: {rows} outputs; expected at most {most}: give a shorter sequence")

    def row(one: Array) -> Array:
        return jnp.sum(jnp.square(back(one)[0]), axis=-1)

    y, back = jax.vjp(f, x)
    units = jnp.eye(rows, dtype=y.dtype).reshape(rows, *y.shape)
    squares = jax.lax.map(row, units, batch_size=64).reshape(*y.shape, x.shape[0])
    return np.asarray(jnp.sqrt(squares.sum(axis=1)))
