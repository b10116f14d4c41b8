"""One token at a time: greedy search and sampling."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnkit.generation.prompt import END, PAD, Decoded, Prompts, Step, continuation, paper, writable
from attnkit.layers.dropout import row_keys

Choose = Callable[[jax.Array, jax.Array], jax.Array]


def most_probable(key: jax.Array, logits: Float[Array, "batch vocabulary"]) -> Int[Array, "batch"]:
    """The most probable token, the lowest id among equals. `key` is not used."""
    del key
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def draw(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Choose:
    """A function of (key, logits `[batch, vocabulary]`) that draws one token id a row, each with its own key.

    Logits, the largest of a row being 0, are divided by `temperature`; then the `top_k` most probable tokens
    stay (0: all; exactly `top_k`, the lowest ids among equals); then the smallest set of most probable ones
    whose probability reaches `top_p`, at least one.

    Source: top-p sampling is Holtzman et al. 2019, arXiv 1904.09751, equations 2 and 3.

    >>> logits = jnp.log(jnp.array([[0.1, 0.4, 0.4, 0.1]]))
    >>> {int(draw(top_k=1)(jax.random.key(seed), logits)[0]) for seed in range(9)}
    {1}
    """

    def choose(key: jax.Array, logits: jax.Array) -> jax.Array:
        size = logits.shape[-1]
        below = (logits - jnp.max(logits, axis=-1, keepdims=True)) / temperature
        ordered, ids = lax.top_k(below, min(top_k, size) if top_k else size)
        if top_p < 1:
            share = jax.nn.softmax(ordered, axis=-1)
            before = jnp.cumsum(share, axis=-1) - share
            ordered = jnp.where(before < top_p, ordered, -jnp.inf)
        place = jax.vmap(jax.random.categorical)(row_keys(key, logits.shape[0]), ordered)
        return jnp.take_along_axis(ids, place[:, None], axis=-1)[:, 0].astype(jnp.int32)

    return choose


def write(
    step: Step,
    state: Any,
    given: Prompts,
    choose: Choose,
    *,
    key: jax.Array,
    max_length: int,
    ready: int = 0,
) -> Decoded:
    """Continue each prompt with the tokens `choose` picks, until `END` or `max_length` tokens.

    Rows are read in step, one position a time; a row whose prompt is longer is still reading while
    others already write. So every row sees exactly its own tokens, and nothing is padded on the left.

    Args:
        step: (state, tokens `[batch, 1]`) -> (logits `[batch, 1, vocabulary]`, state).
        state: decoding state that has read the first `ready` tokens of each prompt.
        given: the prompts.
        choose: (key, logits `[batch, vocabulary]`) -> token ids `[batch]`.
        key: random key, or one for each row; that of a row is folded with the position.
        max_length: most tokens to write.
        ready: number of tokens already read, less than the shortest prompt is long.
    """
    tokens = paper(given, max_length)
    last = given.length + max_length - 1
    rows = given.length.shape[0]
    own = row_keys(key, rows)

    def going(carry: Any) -> jax.Array:
        place, _, _, done, _ = carry
        return (place + 1 < tokens.shape[1]) & ~jnp.all(done)

    def advance(carry: Any) -> Any:
        place, tokens, state, done, score = carry
        read = lax.dynamic_slice_in_dim(tokens, place, 1, axis=1)
        logits, state = step(state, read)
        logits = writable(logits[:, -1])
        chosen = choose(jax.vmap(jax.random.fold_in, (0, None))(own, place), logits)
        place = place + 1
        reading = place < given.length
        stale = lax.dynamic_index_in_dim(tokens, place, axis=1, keepdims=False)
        token = jnp.where(reading, stale, jnp.where(done, PAD, chosen))
        gain = jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[:, None], axis=1)[:, 0]
        score = score + jnp.where(reading | done, 0.0, gain)
        done = done | (~reading & ((token == END) | (place >= last)))
        return place, lax.dynamic_update_index_in_dim(tokens, token, place, axis=1), state, done, score

    begun = (jnp.asarray(ready), tokens, state, jnp.zeros(rows, bool), jnp.zeros(rows, jnp.float32))
    _, tokens, _, _, score = lax.while_loop(going, advance, begun)
    return Decoded(continuation(tokens, given.length, max_length), score)
