"""The door of recurrent attention: one function for every variant and every form."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.recurrent_head import (
    Tokens,
    is_float,
    read_tokens,
    run_head,
    with_unit_values,
)
from attnkit.forms.recurrent_scan import nothing
from attnkit.recurrent.chunks import CHUNK
from attnkit.recurrent.contract import LinearRecurrent, Params, Recurrent, SteppedRecurrent
from attnkit.variant import HeadShape

RecurrentForm = Literal["auto", "scan", "chunked", "matrix"]
SHORT = 8


class Recurred(NamedTuple):
    """What recurrent attention gives.

    Attributes:
        output: in the type of the values.
        state: after the last token that exists, every leaf with a leading head axis.
    """

    output: Float[Array, "heads tokens value_dim"]
    state: Any


@dataclasses.dataclass(frozen=True)
class RecurrentExplanation:
    """Which computation `recur` runs.

    Attributes:
        form: `scan`, `chunked` or `matrix`.
        reason: why that one.
        chunk: tokens (sub-steps, where a variant has several) of a chunk; 1 for a scan.
        chunks: how many chunks pass the state on.
    """

    form: str
    reason: str
    chunk: int
    chunks: int

    def __str__(self) -> str:
        return f"{self.form} ({self.reason}): {self.chunks} chunks of {self.chunk}"


def explain_recurrent(
    variant: Recurrent, tokens: int, *, form: RecurrentForm = "auto", chunk: int | None = None
) -> RecurrentExplanation:
    """What `recur` would run for a sequence of `tokens` tokens. Raises `ValueError` as `recur` does."""
    has = variant.forms
    steps = tokens * (variant.substeps if isinstance(variant, LinearRecurrent) else 1)
    if chunk is not None and (chunk < 1 or chunk & (chunk - 1)):
        raise ValueError(f"chunk = {chunk}: expected a power of two")
    if form != "auto":
        if form not in ("scan", "chunked", "matrix") or form not in has:
            raise ValueError(
                f"form = {form!r}: {type(variant).__name__} has {', '.join(f for f in has if f != 'step')}"
            )
        name, reason = form, "asked for"
    elif "chunked" not in has:
        name, reason = "scan", "the variant has no chunked form"
    elif steps <= SHORT:
        name, reason = "scan", f"at most {SHORT} steps"
    else:
        name, reason = "chunked", "longer than a few steps"
    size = {"scan": 1, "matrix": max(steps, 1)}.get(
        name, min(chunk or CHUNK, 1 << max(steps - 1, 0).bit_length())
    )
    if name == "chunked" and isinstance(variant, SteppedRecurrent):
        size = variant.longest(size)
    return RecurrentExplanation(name, reason, size, -(-steps // size))


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
    form: RecurrentForm = "auto",
    chunk: int | None = None,
) -> Recurred:
    """Recurrent attention of one sequence. Batch with `jax.vmap`.

    Args:
        variant: what to compute.
        shape: heads and widths.
        params: learned parameters, as from `variant.init`.
        inputs: projected token inputs as declared by `variant.inputs`: `[heads, tokens, width]`, or
            `[tokens, width]` for those that all heads share.
        state: what is remembered of the tokens before; the empty state if not given.
        segments: document of each token; the state is emptied before each token whose number is another than
            that of the token before. The first token continues `state`.
        length: number of tokens that exist; the others are padding, give zeros and change nothing.
        form: `scan` computes token by token, `chunked` in parallel chunks, `matrix` by the matrix of all
            pairs; `auto` scans a few tokens and otherwise computes by chunks, see `explain_recurrent`.
        chunk: length of a chunk, a power of two.

    Raises:
        ValueError: if the variant does not have the form, or inputs are missing or do not fit.
    """
    inputs = dict(inputs)
    check(variant, shape, inputs)
    plan = explain_recurrent(variant, inputs["v"].shape[-2], form=form, chunk=chunk)
    dtype = inputs["v"].dtype
    if variant.direction == "both" and state is not None:
        raise ValueError(
            "state: a variant with direction = 'both' reads whole sequences; leave the state out"
        )
    first = empty_state(variant, shape, dtype) if state is None else state
    zero = nothing((inputs, params))
    first = jax.tree.map(lambda a: a + zero.astype(a.dtype), first)

    def head(p: Params, own: Mapping[str, Array], state: Any) -> tuple[Array, Any]:
        tokens = read_tokens(variant, shape, own, segments, length)
        return run_head(variant, plan.form, cast(p, state), tokens, state, chunk)

    axes = {name: None if need.shared else 0 for name, need in variant.inputs(shape).items()}
    output, last = jax.vmap(head, in_axes=(0, axes, 0))(numbers(variant, shape, params), inputs, first)
    return Recurred(output.astype(dtype), last)


def effective(
    variant: Recurrent,
    shape: HeadShape,
    params: Params,
    inputs: Mapping[str, Float[Array, "..."]],
    *,
    segments: Int[Array, "tokens"] | None = None,
    length: Int[Array, ""] | None = None,
) -> Float[Array, "heads tokens tokens"]:
    """Weights of all values in all outputs, from an empty state: `recur(...).output == weights @ v`.

    `v` are the activated values. The output is linear in them, so the weights are what comes out if the value
    of token `s` is the unit vector `e_s`.
    """
    inputs = dict(inputs)
    check(variant, shape, inputs)
    explain_recurrent(variant, inputs["v"].shape[-2], form="matrix")

    def head(p: Params, own: Mapping[str, Array]) -> Array:
        tokens = read_tokens(variant, shape, own, segments, length)
        dtype = jnp.promote_types(own["v"].dtype, jnp.float32)
        if not isinstance(variant, LinearRecurrent):
            state = variant.start(shape, dtype)
            weights = variant.matrix(cast(p, state), tokens.x, state, tokens.begins())  # type: ignore[attr-defined]
            return jnp.where(tokens.real[:, None], weights, 0)
        return effective_head(variant, shape, cast(p, jnp.zeros((), dtype)), tokens, dtype)

    axes = {name: None if need.shared else 0 for name, need in variant.inputs(shape).items()}
    return jax.vmap(head, in_axes=(0, axes))(numbers(variant, shape, params), inputs)


def effective_head(
    variant: LinearRecurrent, shape: HeadShape, p: Params, tokens: Tokens, dtype: Any
) -> Float[Array, "tokens tokens"]:
    """`effective` of one head."""
    count = tokens.real.shape[0]
    unit = with_unit_values(tokens, shape.value_dim)
    wide = dataclasses.replace(shape, value_dim=count)
    state = variant.start(wide, dtype)
    return run_head(variant, "matrix", p, unit, state, None)[0]


def numbers(variant: Recurrent, shape: HeadShape, params: Params) -> dict[str, Array]:
    """Everything the heads own, with a leading head axis: constants, parameters and the head's index."""
    fixed = {name: jnp.asarray(a) for name, a in variant.constants(shape).items()}
    return {**fixed, **params, "head": jnp.arange(shape.heads)}


def cast(p: Params, like: Any) -> Params:
    """A head's own numbers in the type of its state."""
    dtype = next(a.dtype for a in jax.tree.leaves(like) if is_float(a))
    return jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, dict(p))


def check(variant: Recurrent, shape: HeadShape, inputs: Mapping[str, Array], side: str | None = None) -> None:
    """Raise `ValueError` if the inputs are not those that the variant declares, or those of one side."""
    needs = {n: need for n, need in variant.inputs(shape).items() if side in (None, need.side)}
    if set(needs) != set(inputs):
        raise ValueError(f"inputs = {sorted(inputs)}: {type(variant).__name__} needs {sorted(needs)}")
    tokens = next(iter(inputs.values())).shape[-2]
    for name, need in needs.items():
        expected = (tokens, need.width) if need.shared else (shape.heads, tokens, need.width)
        if inputs[name].shape != expected:
            raise ValueError(f"inputs[{name!r}] is {inputs[name].shape}; expected {expected}")
