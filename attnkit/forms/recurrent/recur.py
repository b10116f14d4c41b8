"""Entry point of recurrent attention: one function for every variant and every form."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, Float, Int

from attnkit.forms.on_mesh import EVERYWHERE, OnMesh
from attnkit.forms.recurrent.contract import all_forms, find_form, sizes_of
from attnkit.forms.recurrent.head import is_float, linear_weights, run_head
from attnkit.forms.recurrent.tokens import read_tokens, values_of, varying_zero
from attnkit.forms.shards import AXIS, Shards
from attnkit.forms.sharing import token_axis
from attnkit.hooks import nearest
from attnkit.recurrence.contract import LinearRecurrent, Params, Recurrent, SteppedRecurrent
from attnkit.variant import HeadShape


class RecurrentOutput(NamedTuple):
    """Result of recurrent attention.

    Attributes:
        output: in the type of the values.
        state: after the last token that exists, every leaf with a leading head axis.
    """

    output: Float[Array, "heads tokens value_dim"]
    state: Any


@dataclasses.dataclass(frozen=True)
class RecurrentExplanation:
    """The computation that `recur` runs.

    Attributes:
        form: name of the form.
        reason: why that one.
        chunk: tokens (sub-steps, where a variant has several) of a chunk; 1 for a scan.
        chunks: number of chunks.
    """

    form: str
    reason: str
    chunk: int
    chunks: int

    def __str__(self) -> str:
        return f"{self.form} ({self.reason}): {self.chunks} chunks of {self.chunk}"


def explain_recurrent(
    variant: Recurrent,
    tokens: int,
    *,
    implementation: str = "auto",
    chunk: int | None = None,
    devices: int | None = None,
) -> RecurrentExplanation:
    """The computation of a sequence of `tokens` tokens, which `devices` share unless that is `None`.

    Raises `ValueError` as `recur` does.
    """
    shards = Shards(AXIS, devices) if devices else None
    tokens = shards.share("tokens", tokens) if shards else tokens
    return choose_form(variant, tokens, implementation, chunk, shards)


def choose_form(
    variant: Recurrent, tokens: int, implementation: str, chunk: int | None, shards: Shards | None = None
) -> RecurrentExplanation:
    """The computation of `tokens` tokens, on one device or on each of several."""
    if chunk is not None and (chunk < 1 or chunk & (chunk - 1)):
        raise ValueError(f"chunk = {chunk}: expected a power of two")
    sizes, platform, forms = sizes_of(variant, tokens, shards), jax.default_backend(), all_forms()
    names = ", ".join(sorted(form.name for form in forms))
    if implementation not in ("auto", *(form.name for form in forms)):
        raise ValueError(f"implementation = {implementation!r}: expected auto, {names}")
    passed_over = []
    placed = [form for form in forms if form.misplaced(sizes) is None]
    for form in forms if implementation != "auto" else placed:
        if implementation not in ("auto", form.name):
            continue
        why = form.misplaced(sizes) or form.supports(variant, sizes, platform)
        if why is not None and (implementation != "auto" or form is placed[-1]):
            raise ValueError(f"implementation = {implementation!r}: {why}")
        why = why or (form.declines(sizes) if implementation == "auto" else None)
        if why is None:
            break
        passed_over.append(f"not {form.name}: {why}")
    reason = "; ".join(passed_over) or ("asked for" if implementation != "auto" else "first choice")
    size = form.chunk(variant, sizes, chunk)
    return RecurrentExplanation(form.name, reason, size, -(-sizes.steps // size))


def empty_state(variant: Recurrent, shape: HeadShape, dtype: Any = jnp.float32) -> Any:
    """The state before the first token: every leaf with a leading head axis, in at least float32."""
    one = variant.start(shape, jnp.promote_types(dtype, jnp.float32))
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (shape.heads, *a.shape)), one)


def recur(
    variant: Recurrent,
    shape: HeadShape,
    params: Params,
    inputs: Mapping[str, Float[Array, "..."]],
    *,
    state: Any = None,
    segments: Int[Array, "tokens"] | None = None,
    length: Int[Array, ""] | None = None,
    implementation: str = "auto",
    chunk: int | None = None,
    axis: str | None = None,
    mesh: Mesh | AbstractMesh | None = None,
) -> RecurrentOutput:
    """Recurrent attention of one sequence. Batch with `jax.vmap`.

    Args:
        variant: the recurrence.
        shape: heads and widths.
        params: learned parameters, as from `variant.init`.
        inputs: projected token inputs as declared by `variant.inputs`: `[heads, tokens, width]`, or
            `[tokens, width]` for those that all heads share.
        state: after the tokens before, as from an earlier call; the empty state if not given.
        segments: document of each token; the state is reset before each token whose number is another than
            that of the token before. The first token continues `state`.
        length: number of tokens that exist; the others are padding, give zeros and change nothing.
        implementation: name of a form: `scan` computes token by token, `chunked` in parallel chunks, `matrix`
            by the matrix of all pairs; `auto` chooses one, see `explain_recurrent`.
        chunk: length of a chunk, a power of two.
        axis: inside `jax.shard_map`, the mesh axis whose devices share the sequence: each gives the
            consecutive tokens that it has in `inputs` and `segments`, as many as the others, and gets their
            outputs. `params`, `state` and `length` are the same on all, as is the last state.
        mesh: for arrays of the whole sequence, the devices that compute it: it is cut along `axis`,
            `sequence` if that is left out. Call it inside `jax.jit`.

    Raises:
        ValueError: if the form cannot compute the variant, or inputs are missing or do not fit.
    """
    inputs = dict(inputs)
    check_inputs(variant, shape, inputs)
    count, dtype = inputs["v"].shape[-2], inputs["v"].dtype
    if mesh is None and axis is None:
        how: Any = {"implementation": implementation, "chunk": chunk}
        if axis := token_axis(lambda devices: explain_recurrent(variant, count, devices=devices, **how)):
            mesh = jax.sharding.get_abstract_mesh()
    if mesh is not None:
        on = OnMesh(mesh, axis, tokens=count)
        given = {"params": params, "state": state, "length": length, "segments": segments, "inputs": inputs}
        needs = variant.inputs(shape).items()
        cut = {name: on.tokens if need.shared else on.heads for name, need in needs}

        def one(**own: Any) -> tuple[Array, Any]:
            found = recur(variant, shape, **own, implementation=implementation, chunk=chunk)
            return found.output, found.state

        specs = {"segments": on.tokens, "inputs": cut}
        return RecurrentOutput(*on.run(one, given, specs, (on.heads, EVERYWHERE)))
    shards = Shards.of(axis)
    form = find_form(choose_form(variant, count, implementation, chunk, shards).form).over(shards, dtype)
    if variant.direction == "both" and state is not None:
        raise ValueError(
            "state: a variant with direction = 'both' reads whole sequences; leave the state out"
        )
    first = empty_state(variant, shape, dtype) if state is None else state
    zero = varying_zero((inputs, params))
    first = jax.tree.map(lambda a: a + jnp.asarray(zero).astype(a.dtype), first)

    def head(p: Params, own: Mapping[str, Array], state: Any) -> tuple[Array, Any]:
        tokens = read_tokens(variant, shape, own, segments, length, shards)
        return run_head(variant, form, cast_params(p, state), tokens, state, chunk)

    axes = input_axes(variant, shape)
    output, last = jax.vmap(head, in_axes=(0, axes, 0))(head_params(variant, shape, params), inputs, first)
    return RecurrentOutput(output.astype(dtype), last)


def recurrent_weights(
    variant: Recurrent,
    shape: HeadShape,
    params: Params,
    inputs: Mapping[str, Float[Array, "..."]],
    *,
    segments: Int[Array, "tokens"] | None = None,
    length: Int[Array, ""] | None = None,
) -> Float[Array, "heads tokens values"]:
    """Weights of all values in all outputs, from an empty state: slopes by the activated values.

    The values are those of `recurrent_values`: one for each token, or for each of its sub-steps where a
    variant has several. `recur(...).output == weights @ values` where the output is linear in them and treats
    all channels alike; else each weight is the mean of the slopes of its channels, see `value_weights`.
    Raises `ValueError` if the variant has no such matrix.
    """
    inputs = dict(inputs)
    check_inputs(variant, shape, inputs)
    explain_recurrent(variant, inputs["v"].shape[-2], implementation="matrix")

    def head(p: Params, own: Mapping[str, Array]) -> Array:
        tokens = read_tokens(variant, shape, own, segments, length)
        state = variant.start(shape, jnp.promote_types(own["v"].dtype, jnp.float32))
        p = cast_params(p, state)
        if isinstance(variant, LinearRecurrent):
            return linear_weights(variant, p, tokens, state, shape.value_dim)
        assert isinstance(variant, SteppedRecurrent)
        return jnp.where(tokens.real[:, None], variant.matrix(p, tokens.x, state, tokens.begins()), 0)

    axes = input_axes(variant, shape)
    return jax.vmap(head, in_axes=(0, axes))(head_params(variant, shape, params), inputs)


def recurrent_values(
    variant: Recurrent,
    shape: HeadShape,
    inputs: Mapping[str, Float[Array, "..."]],
    *,
    segments: Int[Array, "tokens"] | None = None,
    length: Int[Array, ""] | None = None,
) -> Float[Array, "heads values value_dim"]:
    """The activated values that `recurrent_weights` multiply."""

    def head(own: Mapping[str, Array]) -> Array:
        return values_of(read_tokens(variant, shape, own, segments, length), shape.value_dim)

    axes = input_axes(variant, shape)
    return jax.vmap(head, in_axes=(axes,), axis_size=shape.heads)(dict(inputs))


def head_params(variant: Recurrent, shape: HeadShape, params: Mapping[str, Any]) -> dict[str, Array]:
    """Constants, parameters and index of the heads, with a leading head axis."""
    found = {name: jnp.asarray(a) for name, a in {**variant.constants(shape), **params}.items()}
    for name, a in found.items():
        if a.shape[:1] != (shape.heads,):
            raise ValueError(
                f"params: {name} of {type(variant).__name__} is {a.shape}; expected a leading axis of "
                f"{shape.heads} heads"
            )
    return {**found, "head": jnp.arange(shape.heads)}


def cast_params(p: Params, like: Any) -> Params:
    """A head's own numbers in the type of its state."""
    dtype = next(a.dtype for a in jax.tree.leaves(like) if is_float(a))
    return {name: a.astype(dtype) if is_float(a) else a for name, a in p.items()}


def input_axes(variant: Recurrent, shape: HeadShape, side: str | None = None) -> dict[str, int | None]:
    """The head axis of each input, or of each input of one side."""
    needs = variant.inputs(shape).items()
    return {name: None if need.shared else 0 for name, need in needs if side in (None, need.side)}


def check_inputs(
    variant: Recurrent, shape: HeadShape, inputs: Mapping[str, Array], side: str | None = None
) -> None:
    """Raise `ValueError` if the inputs are not those that the variant declares, or those of one side."""
    needs = {n: need for n, need in variant.inputs(shape).items() if side in (None, need.side)}
    if set(needs) != set(inputs):
        near = "".join(nearest(name, needs) for name in sorted(set(inputs) - set(needs)))
        raise ValueError(f"inputs = {sorted(inputs)}: {type(variant).__name__} needs {sorted(needs)}{near}")
    tokens = next(iter(inputs.values())).shape[-2]
    for name, need in needs.items():
        expected = (tokens, need.width) if need.shared else (shape.heads, tokens, need.width)
        if inputs[name].shape != expected:
            raise ValueError(f"inputs[{name!r}] is {inputs[name].shape}; expected {expected}")
