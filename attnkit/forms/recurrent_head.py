"""Recurrent attention of one head: from a variant and its token inputs to output and state."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnkit.forms.recurrent_chunked import chunked, chunked_columns, make_chunk
from attnkit.forms.recurrent_decay import exact_einsum
from attnkit.forms.recurrent_led import by_column, led_inputs
from attnkit.forms.recurrent_scan import scan
from attnkit.recurrent.chunks import CHUNK
from attnkit.recurrent.contract import LinearRecurrent, Read, Recurrent, State, SteppedRecurrent, Transition
from attnkit.recurrent.led import LedRecurrent
from attnkit.variant import HeadShape


class Tokens(NamedTuple):
    """The tokens of one sequence, as one head sees them.

    Attributes:
        x: activated inputs by name, `[tokens, width]`, zeros where a token does not exist or is not finite.
        real: which tokens exist.
        reset: where a new document begins; `None` where all tokens are of one document.
        broken: tokens after whose writing nothing is known, because an input was not finite.
        unread: tokens whose own reading is not finite.
    """

    x: Mapping[str, Array]
    real: Bool[Array, "tokens"]
    reset: Bool[Array, "tokens"] | None
    broken: Bool[Array, "tokens"]
    unread: Bool[Array, "tokens"]

    def begins(self) -> Bool[Array, "tokens"]:
        """Where a new document begins."""
        return jnp.zeros_like(self.real) if self.reset is None else self.reset


def read_tokens(
    variant: Recurrent,
    shape: HeadShape,
    x: Mapping[str, Float[Array, "tokens width"]],
    segments: Int[Array, "tokens"] | None,
    length: Int[Array, ""] | None,
) -> Tokens:
    """Inputs in at least float32, with what must not count taken out of them.

    What is not finite becomes zeros here and NaN in the results that it would have reached: multiplied by a
    zero of a mask, it would reach others.
    """
    needs, count = variant.inputs(shape), next(iter(x.values())).shape[0]
    real = jnp.ones(count, bool) if length is None else jnp.arange(count) < length
    reset = None
    if segments is not None:
        reset = jnp.concatenate([jnp.zeros(count, bool)[:1], segments[1:] != segments[:-1]])
    flaws = {"key": jnp.zeros(count, bool), "query": jnp.zeros(count, bool)}
    clean = {}
    for name, raw in x.items():
        fine = jnp.all(jnp.isfinite(raw), axis=-1)
        flaws[needs[name].side] |= real & ~fine
        wide = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
        clean[name] = variant.activate(name, jnp.where((real & fine)[:, None], wide, 0))
    return Tokens(clean, real, reset, flaws["key"], flaws["query"])


def run_head(
    variant: Recurrent, form: str, p: Mapping[str, Any], tokens: Tokens, state: Any, size: int | None
) -> tuple[Float[Array, "tokens value_dim"], Any]:
    """Output and last state in one of the forms; NaN where a token that is not finite would be felt."""
    before = jnp.any(jnp.stack([jnp.any(~jnp.isfinite(a)) for a in floats(state)]))
    clean = jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0) if is_float(a) else a, state)
    if isinstance(variant, LinearRecurrent):
        o, last = run_linear(variant, form, p, tokens, clean, size)
    else:
        assert isinstance(variant, SteppedRecurrent)
        o, last = run_stepped(variant, form, p, tokens, clean, size)
    lost = since_reset(tokens.broken, tokens.begins(), before)
    end = lost[-1] if lost.size else before
    if variant.direction == "both":
        lost |= since_reset(tokens.broken[::-1], reversed_reset(tokens.begins()), jnp.asarray(False))[::-1]
    o = jnp.where((lost | tokens.unread)[:, None], jnp.nan, o)
    last = jax.tree.map(lambda a: jnp.where(end, jnp.nan, a) if is_float(a) else a, last)
    return jnp.where(tokens.real[:, None], o, 0), last


def since_reset(
    event: Bool[Array, "tokens"], reset: Bool[Array, "tokens"], before: Bool[Array, ""]
) -> Bool[Array, "tokens"]:
    """Whether `event` has happened in a token's document up to and including the token."""

    def then(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return b[0] | (a[0] & ~b[1]), a[1] | b[1]

    # Not by cumulative sums: on CPU, XLA computes those of long vectors in quadratic time.
    seen, ended = jax.lax.associative_scan(then, (event, reset))
    return seen | (before & ~ended)


def reversed_reset(reset: Bool[Array, "tokens"]) -> Bool[Array, "tokens"]:
    """Where documents begin when they are read from the last token to the first."""
    return jnp.roll(reset[::-1], 1).at[:1].set(False)


def run_linear(
    variant: LinearRecurrent, form: str, p: Mapping[str, Any], tokens: Tokens, state: State, size: int | None
) -> tuple[Array, State]:
    """A linear recurrence in one of its forms."""
    x, aside = enrich(variant, p, tokens, state, form, size)
    q, write, reset = expand(variant, p, x, tokens, state.matrix.dtype)
    read: Read = variant.read
    o, last = compute(form, q, write, state.matrix, reset, read, size)
    if variant.direction == "both":
        seen, wrote = jax.tree.map(lambda a: a[::-1], (q, write))
        back: Read = "faded" if read == "after" else "before"
        again = None if reset is None else reversed_reset(reset)
        more, _ = compute(form, seen, wrote, jnp.zeros_like(state.matrix), again, back, size)
        o = o + more[::-1]
    own = variant.own(p, x)
    if own is not None:
        o = o + own[:, None] * write.v
    o = o.reshape(-1, variant.substeps, o.shape[-1])[:, -1]
    return variant.emit(p, x, o), State(last, aside)


def enrich(
    variant: LinearRecurrent,
    p: Mapping[str, Any],
    tokens: Tokens,
    state: State,
    form: str = "scan",
    size: int | None = None,
) -> tuple[dict[str, Array], Any]:
    """Inputs with what `accompany` and a leading recurrence add, and what they carry on."""
    if isinstance(variant, LedRecurrent):

        def alone(q: Array, write: Transition, matrix: Array) -> tuple[Array, Array]:
            return compute(form, q, write, matrix, tokens.reset, "after", size)

        def run(q: Array, write: Transition, matrix: Array) -> tuple[Array, Array]:
            if write.g is None or write.g.shape[-1] == 1:
                return alone(q, write, matrix)
            if form == "chunked":
                return chunked_columns(q, write, write.g, matrix, tokens.reset, size or CHUNK)
            return by_column(q, write, write.g, matrix, alone)

        return led_inputs(variant, p, tokens.x, state.aside, tokens.begins(), tokens.real, run)
    more, aside = variant.accompany(p, tokens.x, state.aside, tokens.begins(), tokens.real)
    return {**tokens.x, **more}, aside


def expand(
    variant: LinearRecurrent, p: Mapping[str, Any], x: Mapping[str, Array], tokens: Tokens, dtype: Any
) -> tuple[Array, Transition, Array | None]:
    """Queries, transitions and resets, one for each sub-step; the last one of a token reads."""
    write, reset = expand_writes(variant, p, x, tokens, dtype)
    q, n = variant.query(p, x).astype(dtype), variant.substeps
    if n > 1:
        q = jnp.zeros((q.shape[0], n, q.shape[1]), dtype).at[:, -1].set(q).reshape(-1, q.shape[1])
    return q, write, reset


def expand_writes(
    variant: LinearRecurrent, p: Mapping[str, Any], x: Mapping[str, Array], tokens: Tokens, dtype: Any
) -> tuple[Transition, Array | None]:
    """Transitions and resets, one for each sub-step; tokens that do not exist do nothing."""
    count, n = tokens.real.shape[0], variant.substeps
    real = jnp.repeat(tokens.real, n)[:, None]
    write = jax.tree.map(lambda a: jnp.where(real, a.astype(dtype), 0), variant.write(p, x))
    if n == 1 or tokens.reset is None:
        return write, tokens.reset
    return write, jnp.zeros((count, n), bool).at[:, 0].set(tokens.reset).reshape(-1)


def compute(
    form: str, q: Array, write: Transition, state: Array, reset: Array | None, read: Read, size: int | None
) -> tuple[Array, Array]:
    """What is read and the last state, by `scan`, `chunked` or `matrix`."""
    if form == "scan":
        return scan(q, write, state, reset, read)
    if form == "chunked":
        return chunked(q, write, state, reset, read, size or CHUNK)
    return by_matrix(q, write, state, reset, read)


def by_matrix(
    q: Array, write: Transition, state: Array, reset: Array | None, read: Read
) -> tuple[Array, Array]:
    """What is read as one matrix of all pairs of tokens times the values, and the last state."""
    count = q.shape[0]
    room = 1 << max(count - 1, 0).bit_length()
    padded = jax.tree.map(
        lambda a: jnp.pad(a, ((0, room - count), *((0, 0),) * (a.ndim - 1))), (q, write, reset)
    )
    q, write, reset = padded
    chunk = make_chunk(q, write._replace(v=jnp.eye(room, dtype=q.dtype)), reset, read)
    weights, response = exact_einsum("ts,sr->tr", chunk.weights, chunk.written), chunk.read
    places, kept = (
        exact_einsum("sd,sr->dr", chunk.places, chunk.written),
        jnp.diag(jnp.broadcast_to(chunk.kept, q.shape[-1:])),
    )
    if chunk.answer is not None:
        response = response + exact_einsum("ts,sd->td", chunk.weights, chunk.answer)
        kept = kept + exact_einsum("sd,se->de", chunk.places, chunk.answer)
    o = exact_einsum("ts,sv->tv", weights, write.v) + exact_einsum("td,dv->tv", response, state)
    return o[:count], exact_einsum("ds,sv->dv", places, write.v) + exact_einsum("de,ev->dv", kept, state)


def run_stepped(
    variant: SteppedRecurrent, form: str, p: Mapping[str, Any], tokens: Tokens, state: Any, size: int | None
) -> tuple[Array, Any]:
    """A recurrence with a step of its own: token by token, or in the form that it brings along."""
    if form == "chunked":
        given = (tokens.x, state, tokens.begins(), tokens.real, size)
        o, last = variant.chunked(p, *given)  # type: ignore[attr-defined]
        return o, last
    if form == "matrix":
        weights = variant.matrix(p, tokens.x, state, tokens.begins())  # type: ignore[attr-defined]
        _, last = run_stepped(variant, "scan", p, tokens, state, None)
        still = tokens._replace(x={**tokens.x, "v": jnp.zeros_like(tokens.x["v"])})
        o, _ = run_stepped(variant, "scan", p, still, state, None)
        return o + exact_einsum("ts,sv->tv", weights, tokens.x["v"]), last
    empty = jax.tree.map(jnp.zeros_like, state)

    def token(state: Any, one: Any) -> tuple[Any, Array]:
        x, real, reset = one
        old = jax.tree.map(lambda a, b: jnp.where(reset, b, a), state, empty)
        new, o = variant.step(p, old, x)
        return jax.tree.map(lambda a, b: jnp.where(real, a, b), new, old), o

    with jax.default_matmul_precision("highest"):
        last, o = jax.lax.scan(token, state, (dict(tokens.x), tokens.real, tokens.begins()))
    return o, last


def with_unit_values(tokens: Tokens, value_dim: int) -> Tokens:
    """The tokens with the unit vector `e_s` for a value of token `s`, for each of its sub-steps."""
    v = tokens.x["v"]
    unit = jnp.tile(jnp.eye(v.shape[0], dtype=v.dtype), (1, v.shape[1] // value_dim))
    return tokens._replace(x={**tokens.x, "v": unit})


def floats(state: Any) -> list[Array]:
    """The arrays of a state that can be NaN, and one that is not."""
    return [jnp.zeros(())] + [a for a in jax.tree.leaves(state) if is_float(a)]


def is_float(a: Any) -> bool:
    """Whether an array holds numbers that can be NaN."""
    return bool(jnp.issubdtype(a.dtype, jnp.floating))
