"""Prompts of different lengths in one array, and what decoding writes after them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

PAD = 0
BEGIN = 1
END = 2

Step = Callable[[Any, jax.Array], tuple[jax.Array, Any]]


class Prompts(NamedTuple):
    """Token ids to continue, one row a sequence, padded on the right.

    Attributes:
        tokens: `[batch, longest]` int32.
        length: `[batch]` int32, the number of real tokens of each row, at least 1.
    """

    tokens: Int[Array, "batch longest"]
    length: Int[Array, "batch"]


class Decoded(NamedTuple):
    """The continuations of prompts.

    Attributes:
        tokens: `[batch, max_length]` int32: new tokens, `END` if the text is complete, then `PAD`.
        score: `[batch]` float32: log-probability of the new tokens; for beam search divided by
            length ** length_penalty.
    """

    tokens: Int[Array, "batch written"]
    score: Float[Array, "batch"]


def prompts(sequences: Sequence[Sequence[int]]) -> Prompts:
    """`sequences` of token ids as one padded array.

    Raises:
        ValueError: if there is no sequence, or an empty one.
    """
    lengths = [len(sequence) for sequence in sequences]
    if not lengths or min(lengths) == 0:
        raise ValueError(
            f"sequences = {lengths} tokens long: expected at least one token in each; begin with BEGIN"
        )
    table = np.full((len(lengths), max(lengths)), PAD, np.int32)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence
    return Prompts(jnp.asarray(table), jnp.asarray(lengths, jnp.int32))


def writable(logits: Float[Array, "*batch vocabulary"]) -> Float[Array, "*batch vocabulary"]:
    """float32 logits in which padding and begin, which no text contains, are impossible."""
    special = (jnp.arange(logits.shape[-1]) == PAD) | (jnp.arange(logits.shape[-1]) == BEGIN)
    return jnp.where(special, -jnp.inf, logits.astype(jnp.float32))


def paper(given: Prompts, max_length: int) -> Int[Array, "batch places"]:
    """The prompts with `max_length` empty places behind the longest."""
    real = jnp.arange(given.tokens.shape[1]) < given.length[:, None]
    return jnp.pad(jnp.where(real, given.tokens, PAD), ((0, 0), (0, max_length)))


def continuation(
    tokens: Int[Array, "batch places"], length: Int[Array, "batch"], max_length: int
) -> Int[Array, "batch written"]:
    """The `max_length` tokens behind the first `length` of each row."""
    return jnp.take_along_axis(tokens, length[:, None] + jnp.arange(max_length), axis=1)
