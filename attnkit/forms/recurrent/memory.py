"""A memory read by other tokens than those that wrote it: cross-attention of linear recurrences."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.recurrent.contract import find_form
from attnkit.forms.recurrent.decay import exact_einsum
from attnkit.forms.recurrent.head import expand_writes, with_auxiliary
from attnkit.forms.recurrent.recur import cast_params, check_inputs, head_params, input_axes
from attnkit.forms.recurrent.tokens import Tokens, read_tokens, values_of
from attnkit.forms.recurrent.value_weights import mean_slopes
from attnkit.recurrence.contract import LinearRecurrent, Order, Params, State, Transition
from attnkit.variant import HeadShape


def encode_memory(
    variant: LinearRecurrent,
    shape: HeadShape,
    params: Params,
    inputs: Mapping[str, Float[Array, "..."]],
    *,
    length: Int[Array, ""] | None = None,
) -> State:
    """The state after a whole memory.

    Args:
        variant: the recurrence.
        shape: heads and widths.
        params: learned parameters.
        inputs: the inputs of side `key` alone, as `recur` takes them.
        length: number of tokens of the memory that exist.
    """
    inputs = dict(inputs)
    check_inputs(variant, shape, inputs, "key")

    def head(p: Params, own: Mapping[str, Array]) -> State:
        return last_state(variant, shape, p, read_tokens(variant, shape, own, None, length))

    axes = input_axes(variant, shape, "key")
    return jax.vmap(head, in_axes=(0, axes))(head_params(variant, shape, params), inputs)


def last_state(variant: LinearRecurrent, shape: HeadShape, p: Params, tokens: Tokens) -> State:
    """The state of one head after tokens that write and do not read; NaN if one of them is not finite."""
    state = variant.start(shape, tokens.x["v"].dtype)
    _, write, reset, aux_state = writes_of(variant, cast_params(p, state), tokens, state)
    return State(written(variant, tokens, write, reset, state.matrix), aux_state)


def writes_of(
    variant: LinearRecurrent, p: Params, tokens: Tokens, state: State
) -> tuple[dict[str, Array], Transition, Array | None, Any]:
    """Inputs with the auxiliary ones, transitions, resets, and the auxiliary state after the tokens."""
    x, aux_state = with_auxiliary(variant, p, tokens, state, find_form("scan"))
    return x, *expand_writes(variant, p, x, tokens, state.matrix.dtype), aux_state


def written(
    variant: LinearRecurrent, tokens: Tokens, write: Transition, reset: Array | None, start: Array
) -> Array:
    """The matrix of the state after transitions; NaN if a token is not finite."""
    order = Order(correct=variant.correct)
    _, matrix = find_form("chunked").run(jnp.zeros_like(write.k), write, start, reset, order)
    return jnp.where(jnp.any(tokens.broken), jnp.nan, matrix)


def query_memory(
    variant: LinearRecurrent,
    shape: HeadShape,
    params: Params,
    inputs: Mapping[str, Float[Array, "..."]],
    state: State,
    offset: Int[Array, ""] | int = 0,
) -> Float[Array, "heads tokens value_dim"]:
    """Outputs of tokens that read a state and do not change it, in the type of the inputs.

    `inputs` are those of side `query` alone; `offset` is the position of the first token that reads.
    """
    inputs = dict(inputs)
    check_inputs(variant, shape, inputs, "query")

    def head(p: Params, own: Mapping[str, Array], state: State) -> Array:
        p = cast_params(p, state)
        return read_state(variant, shape, p, own, state, offset).astype(own["q"].dtype)

    mapped = jax.vmap(head, in_axes=(0, input_axes(variant, shape, "query"), 0))
    return mapped(head_params(variant, shape, params), inputs, state)


def read_state(
    variant: LinearRecurrent,
    shape: HeadShape,
    p: Params,
    inputs: Mapping[str, Array],
    state: State,
    offset: Int[Array, ""] | int,
) -> Float[Array, "tokens value_dim"]:
    """Outputs of one head's tokens that read a state."""
    x = asking_inputs(variant, shape, inputs, offset)
    return variant.readout(p, x, exact_einsum("td,dv->tv", variant.query(p, x), state.matrix))


def asking_inputs(
    variant: LinearRecurrent, shape: HeadShape, inputs: Mapping[str, Array], offset: Array | int
) -> dict[str, Array]:
    """Inputs of tokens that read a memory, with their number."""
    tokens = read_tokens(variant, shape, inputs, None, None)
    return {**tokens.x, "position": offset + jnp.arange(tokens.real.shape[0])}


def memory_weights(
    variant: LinearRecurrent,
    shape: HeadShape,
    params: Params,
    asked: Mapping[str, Float[Array, "..."]],
    asking: Mapping[str, Float[Array, "..."]],
    *,
    length: Int[Array, ""] | None = None,
) -> Float[Array, "heads queries values"]:
    """Weights of the memory's activated values in the output of `query_memory`, as `recurrent_weights`."""

    def head(p: Params, asked: Mapping[str, Array], asking: Mapping[str, Array]) -> Array:
        tokens = read_tokens(variant, shape, asked, None, length)
        state = variant.start(shape, tokens.x["v"].dtype)
        p = cast_params(p, state)
        x, write, reset, _ = writes_of(variant, p, tokens, state)
        unit = write._replace(v=jnp.eye(write.v.shape[0], dtype=write.v.dtype))
        empty = jnp.zeros((state.matrix.shape[0], write.v.shape[0]), state.matrix.dtype)
        reading = asking_inputs(variant, shape, asking, 0)
        states = written(variant, tokens, unit, reset, empty)
        mixing = exact_einsum("td,du->tu", variant.query(p, reading), states)
        return mean_slopes(variant, p, reading, x, mixing, shape.value_dim)

    axes = (0, input_axes(variant, shape, "key"), input_axes(variant, shape, "query"))
    return jax.vmap(head, in_axes=axes)(head_params(variant, shape, params), dict(asked), dict(asking))


def memory_values(
    variant: LinearRecurrent,
    shape: HeadShape,
    written: Mapping[str, Float[Array, "..."]],
    *,
    length: Int[Array, ""] | None = None,
) -> Float[Array, "heads values value_dim"]:
    """The activated values that `memory_weights` multiply."""

    def head(written: Mapping[str, Array]) -> Array:
        return values_of(read_tokens(variant, shape, written, None, length), shape.value_dim)

    axes = input_axes(variant, shape, "key")
    return jax.vmap(head, in_axes=(axes,), axis_size=shape.heads)(dict(written))
