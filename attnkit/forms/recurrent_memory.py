"""A memory that is read by other tokens than those that wrote it: cross-attention of linear recurrences."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.recurrent import cast, check, numbers
from attnkit.forms.recurrent_chunked import chunked
from attnkit.forms.recurrent_decay import exact_einsum
from attnkit.forms.recurrent_head import Tokens, enrich, expand_writes, read_tokens, with_unit_values
from attnkit.recurrent.contract import LinearRecurrent, Params, State
from attnkit.variant import HeadShape


def remember(
    variant: LinearRecurrent,
    shape: HeadShape,
    params: Params,
    inputs: Mapping[str, Float[Array, "..."]],
    *,
    length: Int[Array, ""] | None = None,
) -> State:
    """The state after a whole memory.

    Args:
        variant: what to compute.
        shape: heads and widths.
        params: learned parameters.
        inputs: the inputs of side `key` alone, as `recur` takes them.
        length: number of tokens of the memory that exist.
    """
    inputs = dict(inputs)
    check(variant, shape, inputs, "key")

    def head(p: Params, own: Mapping[str, Array]) -> State:
        tokens = read_tokens(variant, shape, own, None, length)
        return last_state(variant, shape, p, tokens)

    return jax.vmap(head, in_axes=(0, axes(variant, shape, "key")))(numbers(variant, shape, params), inputs)


def last_state(variant: LinearRecurrent, shape: HeadShape, p: Params, tokens: Tokens) -> State:
    """The state of one head after tokens that write and do not read; NaN if one of them is not finite."""
    state = variant.start(shape, tokens.x["v"].dtype)
    p = cast(p, state)
    x, aside = enrich(variant, p, tokens, state)
    write, reset = expand_writes(variant, p, x, tokens, state.matrix.dtype)
    _, matrix = chunked(jnp.zeros_like(write.k), write, state.matrix, reset, "after")
    matrix = jnp.where(jnp.any(tokens.broken), jnp.nan, matrix)
    return State(matrix, aside)


def recall(
    variant: LinearRecurrent,
    shape: HeadShape,
    params: Params,
    inputs: Mapping[str, Float[Array, "..."]],
    state: State,
) -> Float[Array, "heads tokens value_dim"]:
    """What tokens read in a state that they do not change, in the type of the inputs.

    `inputs` are those of side `query` alone.
    """
    inputs = dict(inputs)
    check(variant, shape, inputs, "query")

    def head(p: Params, own: Mapping[str, Array], state: State) -> Array:
        p = cast(p, state)
        x = read_tokens(variant, shape, own, None, None).x
        o = exact_einsum("td,dv->tv", variant.query(p, x), state.matrix)
        return variant.emit(p, x, o).astype(own["q"].dtype)

    mapped = jax.vmap(head, in_axes=(0, axes(variant, shape, "query"), 0))
    return mapped(numbers(variant, shape, params), inputs, state)


def effective_memory(
    variant: LinearRecurrent,
    shape: HeadShape,
    params: Params,
    written: Mapping[str, Float[Array, "..."]],
    asked: Mapping[str, Float[Array, "..."]],
    *,
    length: Int[Array, ""] | None = None,
) -> Float[Array, "heads queries keys"]:
    """Weights of the memory's activated values in what `recall` returns."""
    count = written["v"].shape[-2]

    def head(p: Params, written: Mapping[str, Array], asked: Mapping[str, Array]) -> Array:
        tokens = read_tokens(variant, shape, written, None, length)
        tokens = with_unit_values(tokens, shape.value_dim)
        wide = dataclasses.replace(shape, value_dim=count)
        x = read_tokens(variant, shape, asked, None, None).x
        state = last_state(variant, wide, p, tokens)
        p = cast(p, state)
        return variant.emit(p, x, exact_einsum("td,dv->tv", variant.query(p, x), state.matrix))

    sides = (axes(variant, shape, "key"), axes(variant, shape, "query"))
    return jax.vmap(head, in_axes=(0, *sides))(numbers(variant, shape, params), dict(written), dict(asked))


def axes(variant: LinearRecurrent, shape: HeadShape, side: str) -> dict[str, int | None]:
    """Which axis of each input of a side counts heads."""
    needs = variant.inputs(shape).items()
    return {name: None if need.shared else 0 for name, need in needs if need.side == side}
