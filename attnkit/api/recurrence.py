"""Recurrent attention on arrays with any leading axes."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from attnkit import forms
from attnkit.api.shapes import Layout, check_layout, heads_first, over
from attnkit.forms import RecurrentOutput
from attnkit.recurrence.contract import Recurrent
from attnkit.variant import HeadShape


def recurrent(
    inputs: Mapping[str, Float[Array, "..."]],
    variant: Recurrent,
    params: Any = None,
    *,
    dim: int | None = None,
    layout: Layout | None = None,
    state: Any = None,
    segments: Int[Array, "*leading tokens"] | None = None,
    length: Int[Array, "*leading"] | None = None,
    implementation: str = "auto",
    chunk: int | None = None,
    axis: str | None = None,
    mesh: Mesh | None = None,
) -> RecurrentOutput:
    """Recurrent attention.

    Args:
        inputs: what the variant declares, `q`, `k`, `v` and its gates: `[..., heads, tokens, width]`, and
            `[..., tokens, width]` for those that all heads share.
        variant: such as `ak.Gla()`.
        params: its learned parameters, as from `ak.init`; may be left out if it has none.
        dim: width of a head; that of `q` if not given.
        layout: `htd`, the default, for arrays `[..., heads, tokens, width]`, `thd` for
            `[..., tokens, heads, width]`. Where it is left out, more heads than tokens are a warning.
        state: the state after the tokens before, as this function returns it; empty if not given.
        segments: document of each token; the state is emptied where it changes.
        length: number of tokens that exist; the others are padding and change nothing.
        implementation: `auto`, `scan`, `chunked` or `matrix`, and `passed` on several devices; `ak.explain`
            says which one runs.
        chunk: length of a chunk, a power of two.
        axis: inside `jax.shard_map`, the mesh axis whose devices share each sequence: `inputs` and `segments`
            are of the device's consecutive tokens, as many on each, and so is the output; `params`, `state`
            and `length` are the same on all, and so is the last state.
        mesh: for arrays of whole sequences, the devices that compute them: each sequence is cut along `axis`,
            `sequence` if that is left out. Call it inside `jax.jit`.

    Returns:
        `output` in the layout of `v`, and `state` after the last token, every leaf `[..., heads, ...]`.

    Raises:
        ValueError: if the variant does not have the form, has parameters that are not given, or inputs are
            missing or do not fit.

    >>> import jax.numpy as jnp
    >>> import attnkit as ak
    >>> ones = jnp.ones((1, 3, 1))  # 1 head, 3 tokens, width 1
    >>> v = jnp.array([[[1.0], [2.0], [4.0]]])
    >>> sums = ak.Linear(feature=ak.Identity(), normalizer=False)
    >>> recurrent({"q": ones, "k": ones, "v": v}, sums).output.ravel().tolist()
    [1.0, 3.0, 7.0]
    """
    inputs, shape = checked(variant, inputs, layout, dim)
    params = complete(variant, params, shape)

    def one(given: Mapping[str, Any]) -> RecurrentOutput:
        where: dict[str, Any] = {"axis": axis, "mesh": mesh}
        return forms.recur(
            variant, shape, params, implementation=implementation, chunk=chunk, **where, **given
        )

    given = {"inputs": inputs, "state": state, "segments": segments, "length": length}
    output, last = over(inputs["v"].shape[:-3], one)(given)
    return RecurrentOutput(heads_first(output, layout), last)


def recurrent_weights(
    inputs: Mapping[str, Float[Array, "..."]],
    variant: Recurrent,
    params: Any = None,
    *,
    dim: int | None = None,
    layout: Layout | None = None,
    segments: Int[Array, "*leading tokens"] | None = None,
    length: Int[Array, "*leading"] | None = None,
) -> Float[Array, "*leading heads tokens values"]:
    """The weights `[..., heads, tokens, values]` of all values in all outputs. Arguments as of `recurrent`.

    A token has one value, or several where a variant takes several steps (`ak.DeltaProduct`). Raises
    `ValueError` for a variant without the form `matrix`.

    >>> import jax.numpy as jnp
    >>> import attnkit as ak
    >>> ones = jnp.ones((1, 2, 1))
    >>> sums = ak.Linear(feature=ak.Identity(), normalizer=False)
    >>> recurrent_weights({"q": ones, "k": ones, "v": ones}, sums).tolist()
    [[[1.0, 0.0], [1.0, 1.0]]]
    """
    inputs, shape = checked(variant, inputs, layout, dim)
    params = complete(variant, params, shape)

    def one(given: Mapping[str, Any]) -> Array:
        return forms.recurrent_weights(variant, shape, params, **given)

    given = {"inputs": inputs, "segments": segments, "length": length}
    return over(inputs["v"].shape[:-3], one)(given)


def checked(
    variant: Recurrent, inputs: Mapping[str, Array], layout: Layout | None, dim: int | None
) -> tuple[dict[str, Array], HeadShape]:
    """Inputs `[..., heads, tokens, width]` of what the variant declares, and the sizes of heads."""
    if not isinstance(variant, Recurrent):
        raise TypeError(f"variant = {variant!r}: expected a recurrent variant, such as ak.Gla()")
    if "v" not in inputs:
        raise ValueError(f"inputs = {sorted(inputs)}: lack v; give what {type(variant).__name__} declares")
    if inputs["v"].ndim < 3:
        raise ValueError(f"inputs['v'] {inputs['v'].shape}: expected [..., heads, tokens, width]")
    v = heads_first(inputs["v"], layout)
    check_layout(layout, "inputs['v']", v)
    width = dim or inputs.get("q", v).shape[-1]
    shape = HeadShape(heads=v.shape[-3], dim=width, value_dim=v.shape[-1])
    shared = {name for name, need in variant.inputs(shape).items() if need.shared}
    return {n: a if n in shared else heads_first(a, layout) for n, a in inputs.items()}, shape


def complete(variant: Recurrent, params: Any, shape: HeadShape) -> Any:
    """`params`, or nothing for a variant that has none. Raises `ValueError` if it has some."""
    if params is not None:
        return params
    names = sorted(jax.eval_shape(lambda key: variant.init(key, shape), jax.random.key(0)))
    if not names:
        return {}
    raise ValueError(
        f"params = None: {type(variant).__name__} has parameters ({', '.join(names)}); make them with "
        f"ak.init(variant, key, heads={shape.heads}, dim={shape.dim})"
    )
