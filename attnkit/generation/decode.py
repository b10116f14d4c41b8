"""Decoding with a network: reading the prompts, then greedy search, sampling or beam search."""

import functools
from typing import Any

import jax
from flax import nnx

from attnkit.generation.beam import search
from attnkit.generation.plan import Decoding
from attnkit.generation.prompt import Decoded, Prompts
from attnkit.generation.sampling import draw, most_probable, write
from attnkit.models.contract import Batch, Network


def decode(
    decoding: Decoding,
    network: Network,
    given: Prompts,
    batch: Batch | None = None,
    *,
    key: jax.Array | None = None,
) -> Decoded:
    """Continue each prompt with `network`, compiled once for each shape of prompts and batch.

    Args:
        decoding: the method and its options.
        network: the model.
        given: the prompts; `BEGIN` alone where there is nothing to continue.
        batch: what else the model reads: `source` and `source_length` of a sequence-to-sequence task.
        key: random key, or one for each prompt; needed by `method = "sample"`.

    Raises:
        ValueError: if sampling has no key, or the network no positions for so many tokens.
    """
    if decoding.method == "sample" and key is None:
        raise ValueError('key = None: method = "sample" needs a random key; give key=jax.random.key(seed)')
    graph, params = nnx.split(network)
    return run(
        decoding, graph, shared(given), params, given, batch or {}, jax.random.key(0) if key is None else key
    )


def shared(given: Prompts) -> int:
    """How many tokens every prompt has before its last, rounded down to a power of two.

    They are read in one go; rounding bounds the number of programs that are compiled.
    """
    longest = int(given.length.min()) - 1
    return 1 << (longest.bit_length() - 1) if longest else 0


@functools.partial(jax.jit, static_argnames=("decoding", "graph", "ready"))
def run(
    decoding: Decoding, graph: Any, ready: int, params: Any, given: Prompts, batch: Batch, key: jax.Array
) -> Decoded:
    """`decode` as a pure function of the parameters of the network with graph definition `graph`."""
    network = nnx.merge(graph, params)
    # The last token that is written is not read.
    state = network.start(dict(batch, inputs=given.tokens), given.tokens.shape[1] + decoding.max_length - 1)
    if ready:
        _, state = network.step(state, given.tokens[:, :ready])

    def step(state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        return network.step(state, tokens)

    if decoding.method == "beam":
        penalty = decoding.length_penalty
        return search(
            step,
            state,
            given,
            beams=decoding.beams,
            max_length=decoding.max_length,
            length_penalty=penalty,
            ready=ready,
        )
    sample = draw(decoding.temperature, decoding.top_k, decoding.top_p)
    choose = sample if decoding.method == "sample" else most_probable
    return write(step, state, given, choose, key=key, max_length=decoding.max_length, ready=ready)
