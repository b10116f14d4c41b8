"""Recurrent attention of one head: from a variant and its token inputs to output and state."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.recurrent.contract import Form, find_form
from attnkit.forms.recurrent.tokens import Tokens, reversed_reset, since_reset
from attnkit.forms.recurrent.two_pass import two_pass_inputs
from attnkit.forms.recurrent.value_weights import mean_slopes
from attnkit.forms.shards import Shards
from attnkit.recurrence.contract import (
    LinearRecurrent,
    Order,
    Params,
    Recurrent,
    State,
    SteppedRecurrent,
    Transition,
)
from attnkit.recurrence.two_pass import FirstPassState, TwoPassRecurrent


def run_head(
    variant: Recurrent, form: Form, p: Params, tokens: Tokens, state: Any, size: int | None
) -> tuple[Float[Array, "tokens value_dim"], Any]:
    """Output and last state in one of the forms; NaN where a value that is not finite would reach."""
    before = jnp.any(jnp.stack([jnp.any(~jnp.isfinite(a)) for a in floats(state)]))
    clean = jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0) if is_float(a) else a, state)
    if isinstance(variant, LinearRecurrent):
        o, last = run_linear(variant, form, p, tokens, clean, size)
    else:
        assert isinstance(variant, SteppedRecurrent)
        o, last = form.run_stepped(variant, p, tokens, clean, size)
    lost = since_reset(tokens.broken, tokens.begins(), before, form.shards)
    end = lost[-1] if lost.size else before
    end = form.shards.from_last(end) if form.shards else end
    last = jax.tree.map(lambda a: jnp.where(end, jnp.nan, a) if is_float(a) else a, last)
    return of_real_tokens(variant, tokens, lost, o, form.shards), last


def of_real_tokens(
    variant: Recurrent, tokens: Tokens, lost: Array, o: Array, shards: Shards | None = None
) -> Array:
    """Rows of outputs: NaN where a value that is not finite would reach, zeros for tokens that do not exist.

    `lost` says after which tokens the state is unknown.
    """
    if variant.direction == "both":
        begins, back = reversed_reset(tokens.begins(), shards), shards.reversed() if shards else None
        lost |= since_reset(tokens.broken[::-1], begins, jnp.asarray(False), back)[::-1]
    o = jnp.where((lost | tokens.unread)[:, None], jnp.nan, o)
    return jnp.where(tokens.real[:, None], o, 0)


def linear_weights(
    variant: LinearRecurrent, p: Params, tokens: Tokens, state: State, value_dim: int
) -> Float[Array, "tokens values"]:
    """Weights of all values (one for each sub-step) in all outputs, from the empty `state`."""
    form, dtype = find_form("matrix"), state.matrix.dtype
    x, _ = with_auxiliary(variant, p, tokens, state, form)
    q, write, reset = expand(variant, p, x, tokens, dtype)
    unit = write._replace(v=jnp.eye(write.v.shape[0], dtype=dtype))
    empty = jnp.zeros((state.matrix.shape[0], write.v.shape[0]), dtype)
    mixing, _ = read_states(variant, form, p, x, (q, unit), empty, reset, None)
    weights = mean_slopes(variant, p, x, x, mixing, value_dim)
    lost = since_reset(tokens.broken, tokens.begins(), jnp.asarray(False))
    return of_real_tokens(variant, tokens, lost, weights)


def run_linear(
    variant: LinearRecurrent, form: Form, p: Params, tokens: Tokens, state: State, size: int | None
) -> tuple[Array, State]:
    """A linear recurrence in one of its forms."""
    x, aux_state = with_auxiliary(variant, p, tokens, state, form, size)
    q, write, reset = expand(variant, p, x, tokens, state.matrix.dtype)
    o, last = read_states(variant, form, p, x, (q, write), state.matrix, reset, size)
    return variant.readout(p, x, o), State(last, aux_state)


def read_states(
    variant: LinearRecurrent,
    form: Form,
    p: Params,
    x: dict[str, Array],
    moves: tuple[Array, Transition],
    state: Array,
    reset: Array | None,
    size: int | None,
) -> tuple[Float[Array, "tokens columns"], Array]:
    """The reads of all tokens, summed over both directions if there are two, and the last state.

    `moves` are queries and transitions, one for each sub-step.
    """
    (q, write), order = moves, Order(variant.read, variant.correct)
    o, last = form.run(q, write, state, reset, order, size)
    if variant.direction == "both":
        seen, wrote = jax.tree.map(lambda a: a[::-1], (q, write))
        back = order._replace(read="decayed" if order.read == "after" else "before")
        again = None if reset is None else reversed_reset(reset, form.shards)
        backward = form.over(form.shards.reversed(), form.dtype) if form.shards else form
        more, _ = backward.run(seen, wrote, jnp.zeros_like(state), again, back, size)
        o = o + more[::-1]
    weight = variant.self_weight(p, x)
    if weight is not None:
        o = o + weight[:, None] * write.v
    return o.reshape(-1, variant.substeps, o.shape[-1])[:, -1], last


def with_auxiliary(
    variant: LinearRecurrent,
    p: Params,
    tokens: Tokens,
    state: State,
    form: Form,
    size: int | None = None,
) -> tuple[dict[str, Array], Any]:
    """Inputs with the auxiliary ones and those of a first pass, and the next auxiliary state."""
    first = state.aux_state.aux_state if isinstance(variant, TwoPassRecurrent) else state.aux_state

    def auxiliary(aux_state: Any) -> tuple[Any, Any]:
        return variant.auxiliary_inputs(p, tokens.x, aux_state, tokens.begins(), tokens.real)

    more, aux_state = form.carry_on(auxiliary, first)
    x = {**tokens.x, **more}
    if isinstance(variant, TwoPassRecurrent):

        def run(q: Array, write: Transition, matrix: Array) -> tuple[Array, Array]:
            if write.g is None or write.g.shape[-1] == 1:
                return form.run(q, write, matrix, tokens.reset, Order(), size)
            return form.run_columns(q, write, matrix, tokens.reset, size)

        found, matrix = two_pass_inputs(variant, p, x, state.aux_state.matrix, tokens.real, run)
        return {**x, **found}, FirstPassState(matrix, aux_state)
    return x, aux_state


def expand(
    variant: LinearRecurrent, p: Params, x: dict[str, Array], tokens: Tokens, dtype: Any
) -> tuple[Array, Transition, Array | None]:
    """Queries, transitions and resets, one for each sub-step; the last one of a token reads."""
    write, reset = expand_writes(variant, p, x, tokens, dtype)
    q, n = variant.query(p, x).astype(dtype), variant.substeps
    if n > 1:
        q = jnp.zeros((q.shape[0], n, q.shape[1]), dtype).at[:, -1].set(q).reshape(-1, q.shape[1])
    return q, write, reset


def expand_writes(
    variant: LinearRecurrent, p: Params, x: dict[str, Array], tokens: Tokens, dtype: Any
) -> tuple[Transition, Array | None]:
    """Transitions and resets, one for each sub-step; tokens that do not exist do nothing."""
    count, n = tokens.real.shape[0], variant.substeps
    real = jnp.repeat(tokens.real, n)[:, None]
    write = jax.tree.map(lambda a: jnp.where(real, a.astype(dtype), 0), variant.write(p, x))
    if n == 1 or tokens.reset is None:
        return write, tokens.reset
    return write, jnp.zeros((count, n), bool).at[:, 0].set(tokens.reset).reshape(-1)


def floats(state: Any) -> list[Array]:
    """The arrays of a state that can be NaN, and one that is not."""
    return [jnp.zeros(())] + [a for a in jax.tree.leaves(state) if is_float(a)]


def is_float(a: Any) -> bool:
    """Whether an array holds numbers that can be NaN."""
    return bool(jnp.issubdtype(a.dtype, jnp.floating))
