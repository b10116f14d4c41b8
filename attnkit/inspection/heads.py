"""Heads of a network: their points, and gates on their outputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.inspection.maps import Head
from attnkit.points import Observed, PointError, Read, names, observe

OUTPUT = "head_output"
Model = Callable[..., Any]
#: From the output of a model a number, or one for each example.
Metric = Callable[[Any], Array]


def capture(f: Model, read: Read) -> Callable[..., Observed]:
    """`f` with the values of some points, from two compiled programs: reading changes no bit of the output.

    Reading in the same program (`observe`) may change how it is fused, and so the last bits of its output.
    """
    plain, values = jax.jit(f), jax.jit(lambda *args: observe(f, read=read)(*args).values)
    return lambda *args: Observed(plain(*args), values(*args))


def head_shapes(f: Model, *args: Any) -> dict[str, tuple[int, ...]]:
    """The shape `[batch, heads, tokens, dim]` of the heads' outputs of every layer, by the layer's path.

    Raises:
        PointError: if no layer has heads.
    """
    end = f".{OUTPUT}"
    found = {name.removesuffix(end): a.shape for name, a in names(f, *args).items() if name.endswith(end)}
    if not found:
        raise PointError(f"no layer has the point {OUTPUT!r}; call the model on whole sequences")
    return found


def all_heads(f: Model, *args: Any) -> list[Head]:
    """Every head of a model, layer by layer."""
    return [Head(path, n) for path, shape in head_shapes(f, *args).items() for n in range(shape[1])]


def head_outputs(f: Model, paths: Sequence[str], *args: Any) -> dict[str, Array]:
    """The outputs of all heads of the layers at `paths`."""
    found = observe(f, read=[f"{path}.{OUTPUT}" for path in paths])(*args).values
    return {path: found[f"{path}.{OUTPUT}"] for path in paths}


def one_hot(
    heads: Sequence[Head], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[Array, "n heads"]]:
    """For each of `heads` 1 at its place, by path: an axis to map over, so that a sweep is one program."""
    return {
        path: jnp.array([[float(h == Head(path, n)) for n in range(shape[1])] for h in heads])
        for path, shape in shapes.items()
    }


def blended(gate: Float[Array, "heads"], new: Array, old: Array) -> Array:
    """`new` where the gate of a head is 1, `old` where it is 0; `[batch, heads, tokens, dim]`."""
    return jnp.where(gate[None, :, None, None] > 0, new, old).astype(old.dtype)
