"""Beam search: the most probable text, approximately."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnkit.generation.prompt import END, PAD, Decoded, Prompts, Step, continuation, paper, writable


class Beams(NamedTuple):
    """Where the search stands.

    Attributes:
        place: the position that is read next.
        tokens: the beginnings that are kept.
        score: their log-probabilities; `-inf` for an empty place.
        state: decoding state, every leaf `[batch * beams, ...]`.
        best: the best complete text so far.
        best_score: its normalized log-probability; `-inf` if there is none.
    """

    place: jax.Array
    tokens: Int[Array, "batch beams places"]
    score: Float[Array, "batch beams"]
    state: Any
    best: Int[Array, "batch places"]
    best_score: Float[Array, "batch"]


def search(
    step: Step,
    state: Any,
    given: Prompts,
    *,
    beams: int,
    max_length: int,
    length_penalty: float = 1.0,
    ready: int = 0,
) -> Decoded:
    """The continuation with the highest log-probability / length ** `length_penalty` that beam search finds.

    At each position the `beams` most probable one-token extensions of all kept beginnings stay; those
    that end in `END` leave the beam as complete texts, so ending competes with going on, and one beam is
    greedy search. A row is finished when no beginning it keeps can still beat its best complete text. If
    none was completed within `max_length` tokens, the most probable beginning is returned.

    Args:
        step: (state, tokens `[batch * beams, 1]`) -> (logits `[batch * beams, 1, vocabulary]`, state).
        state: decoding state that has read the first `ready` tokens of each prompt, every leaf
            `[batch, ...]`.
        given: the prompts.
        beams: number of beginnings kept.
        max_length: most tokens to write, `END` included.
        length_penalty: exponent of the length, not negative.
        ready: number of tokens already read, less than the shortest prompt is long.

    Source: the length normalization of Jean et al. 2015 and Wu et al. 2016 (arXiv 1609.08144, section
    7), with the plain power of the length.
    """
    places = given.tokens.shape[1] + max_length

    def going(at: Beams) -> Bool[Array, ""]:
        reachable = jnp.max(at.score, axis=1) / max_length**length_penalty
        unfinished = (reachable > at.best_score) & (at.place + 1 < given.length + max_length)
        return jnp.any(unfinished) & (at.place + 1 < places)

    def advance(at: Beams) -> Beams:
        rows = at.tokens.shape[0]
        read = lax.dynamic_slice_in_dim(at.tokens, at.place, 1, axis=2)
        logits, state = step(at.state, read.reshape(rows * beams, 1))
        at = at._replace(state=state, place=at.place + 1)
        at = move(at, given, logits[:, -1].reshape(rows, beams, -1), max_length)
        return complete(at, given, length_penalty)

    at = lax.while_loop(going, advance, begin(state, given, beams, max_length, ready))
    first = jnp.argmax(at.score, axis=1)
    text, score = pick(at.tokens, first), pick(at.score, first) / max_length**length_penalty
    found = jnp.isfinite(at.best_score)
    text = jnp.where(found[:, None], at.best, text)
    return Decoded(continuation(text, given.length, max_length), jnp.where(found, at.best_score, score))


def begin(state: Any, given: Prompts, beams: int, max_length: int, ready: int) -> Beams:
    """The beam that holds each prompt once."""
    tokens = paper(given, max_length)
    rows = tokens.shape[0]
    return Beams(
        place=jnp.asarray(ready),
        tokens=jnp.repeat(tokens[:, None], beams, axis=1),
        # Equal beginnings would fill the beam with copies: only the first one counts.
        score=jnp.where(jnp.arange(beams) == 0, jnp.zeros((rows, 1)), -jnp.inf),
        state=jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), state),
        best=jnp.full_like(tokens, PAD),
        best_score=jnp.full(rows, -jnp.inf),
    )


def move(at: Beams, given: Prompts, logits: Float[Array, "batch beams vocabulary"], max_length: int) -> Beams:
    """The beam after the token at `at.place` was chosen, or read where a row is not writing."""
    rows, beams = at.score.shape
    writing = ((at.place >= given.length) & (at.place < given.length + max_length))[:, None]
    score, parent, token = extend(at.score, logits)
    stale = lax.dynamic_index_in_dim(at.tokens, at.place, axis=2, keepdims=False)
    parent = jnp.where(writing, parent, jnp.arange(beams))
    tokens = jnp.take_along_axis(at.tokens, parent[:, :, None], axis=1)
    origin = (jnp.arange(rows)[:, None] * beams + parent).reshape(-1)
    return at._replace(
        tokens=lax.dynamic_update_index_in_dim(tokens, jnp.where(writing, token, stale), at.place, axis=2),
        score=jnp.where(writing, score, at.score),
        state=jax.tree.map(lambda leaf: leaf[origin], at.state),
    )


def complete(at: Beams, given: Prompts, length_penalty: float) -> Beams:
    """The beam without the texts that end at `at.place`; the best of them replaces a worse best so far."""
    token = lax.dynamic_index_in_dim(at.tokens, at.place, axis=2, keepdims=False)
    written = (at.place - given.length + 1)[:, None]
    ended = (token == END) & (written > 0)
    score = jnp.where(ended, at.score / jnp.maximum(written, 1) ** length_penalty, -jnp.inf)
    winner = jnp.argmax(score, axis=1)
    better = pick(score, winner) > at.best_score
    return at._replace(
        score=jnp.where(ended, -jnp.inf, at.score),
        best=jnp.where(better[:, None], pick(at.tokens, winner), at.best),
        best_score=jnp.where(better, pick(score, winner), at.best_score),
    )


def pick(table: Array, index: Int[Array, "batch"]) -> Array:
    """Row `index` of each row of `table [batch, beams, ...]`."""
    return jax.vmap(lambda rows, n: rows[n])(table, index)


def extend(
    score: Float[Array, "batch beams"], logits: Float[Array, "batch beams vocabulary"]
) -> tuple[Float[Array, "batch beams"], Int[Array, "batch beams"], Int[Array, "batch beams"]]:
    """The most probable one-token extensions: log-probability, index of the beginning, token."""
    beams, vocabulary = logits.shape[1:]
    gain = jax.nn.log_softmax(writable(logits), axis=-1)
    score, flat = lax.top_k((score[:, :, None] + gain).reshape(score.shape[0], -1), beams)
    return score, flat // vocabulary, (flat % vocabulary).astype(jnp.int32)
