"""From texts to texts: the examples of a data set through a network and back into words."""

import dataclasses
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.errors import ConfigError
from attnkit.experiment.session import Session
from attnkit.generation.decode import decode
from attnkit.generation.plan import Decoding
from attnkit.generation.prompt import prompts
from attnkit.models.encoder import EncoderNetwork
from attnkit.tasks.contract import Example, Vocabulary

TOGETHER = 128
FEWEST = 16


def sources(examples: Sequence[Example], width: int) -> dict[str, jax.Array]:
    """Encoder inputs of some examples, at least `width` wide; empty for decoder-only tasks."""
    sizes = [example.source_size for example in examples]
    wide = (len(examples), max(width, *sizes))
    found: dict[str, np.ndarray] = {}
    for name, values in (
        ("source", [e.source for e in examples]),
        ("source_features", [e.source_features for e in examples]),
        ("source_segment", [e.segment for e in examples]),
    ):
        if any(value is None for value in values):
            continue
        arrays = [np.asarray(value) for value in values]
        kind = np.float32 if name == "source_features" else np.int32
        found[name] = np.full((*wide, *arrays[0].shape[1:]), Vocabulary.PAD, kind)
        for row, array in zip(found[name], arrays, strict=True):
            row[: len(array)] = array
    if found:
        found["source_length"] = np.asarray(sizes, np.int32)
    return {name: jnp.asarray(table) for name, table in found.items()}


def write(
    session: Session, examples: Sequence[Example], decoding: Decoding, seed: int = 0
) -> list[tuple[int, ...]]:
    """Output of each example: token ids up to `END`, which is included if it was generated.

    An encoder writes one token for each of its source, and at most `max_length`.

    Args:
        session: network and vocabularies.
        examples: what to translate or continue.
        decoding: how.
        seed: of the random numbers of sampling; equal examples get equal samples.

    Raises:
        ConfigError: if the network has no room for prompts and answers.
    """
    if session.dataset.length == 1:
        decoding = dataclasses.replace(decoding, max_length=1)
    written: list[tuple[int, ...]] = []
    for first in range(0, len(examples), TOGETHER):
        some = list(examples[first : first + TOGETHER])
        real = len(some)
        some += some[-1:] * (rows(real) - real)
        batch = sources(some, session.dataset.source_length)
        key = sample_keys(seed, some)
        given = prompts([example.inputs for example in some])
        try:
            tokens = np.asarray(decode(decoding, session.network, given, batch, key=key).tokens)[:real]
        except ValueError as error:
            raise ConfigError(f"cannot write {decoding.max_length} tokens: {error}") from error
        written += [ended(row) for row in tokens.tolist()]
    if isinstance(session.network, EncoderNetwork):
        return [row[: example.source_size] for row, example in zip(written, examples, strict=True)]
    return written


def sample_keys(seed: int, examples: Sequence[Example]) -> jax.Array:
    """A random key for each example, from the seed and its content."""
    contents = [(e.inputs, e.source, e.source_features, e.segment) for e in examples]
    digests = [
        zlib.crc32(b"|".join(b"" if a is None else np.asarray(a).tobytes() for a in content))
        for content in contents
    ]
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.asarray(digests, np.uint32))


def rows(count: int) -> int:
    """The number of rows to compute `count` examples in: few different ones, so that little is compiled."""
    return min(max(1 << (count - 1).bit_length(), FEWEST), TOGETHER)


def ended(tokens: Sequence[int]) -> tuple[int, ...]:
    """`tokens` up to and with the first `END`."""
    for place, token in enumerate(tokens):
        if token == Vocabulary.END:
            return tuple(tokens[: place + 1])
    return tuple(tokens)
