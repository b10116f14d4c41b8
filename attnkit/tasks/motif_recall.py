"""Recall of motifs: keys and values of several tokens, with noise between the pairs."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Lt

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)
PAD = Vocabulary.PAD


@options
class MotifRecall(Task):
    """Pairs of keys and values again and again, each of some tokens; the values of known keys are asked for.

    A sequence has a dictionary of its own: `pairs` keys of 1 to `key_size` different key tokens, and values
    of 1 to `value_size` different value tokens. It is a row of pairs drawn from the dictionary; with
    probability `noise`, a piece as long as a pair holds noise tokens instead. The last pair came before.
    With sizes of 1 that is recall among pairs, with larger ones MAD's fuzzy recall (a key may be the end of
    another), with noise its noisy recall.

    >>> task = MotifRecall(tokens=3, pairs=2, key_size=2, noise=0.3, length=24)
    >>> example, = task.load().examples("valid", 1)
    >>> example.prompt
    'k1 k2 v2 k0 v2 k1 k2 v2 k0 v2 n2 n0 k1 k2 v2 n0 n2 k0 v2 k0 v2 k0'
    >>> example.answer
    'v2'

    Attributes:
        tokens: key tokens, and as many value tokens and noise tokens.
        pairs: pairs in the dictionary of a sequence.
        key_size: most tokens of a key.
        value_size: most tokens of a value.
        noise: probability that a piece of a sequence is noise.
        length: most tokens of a training sequence.
        lengths: most tokens of the sequences of the splits `length<n>`.
        held_out: sequences of each split.

    Source: Poli et al. 2024, arXiv 2403.17844, appendix, and the authors' code (in-context, noisy and fuzzy
    recall); there all possible pairs are the dictionary.
    """

    tokens: Annotated[int, Ge(1)] = 8
    pairs: Annotated[int, Ge(2)] = 8
    key_size: Annotated[int, Ge(1)] = 1
    value_size: Annotated[int, Ge(1)] = 1
    noise: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    length: Annotated[int, Ge(4)] = 128
    lengths: tuple[int, ...] = (256,)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "MotifRecallDataset":
        """Sequences without end. Raises `ConfigError` for sizes that do not fit together."""
        if self.tokens < (most := max(self.key_size, self.value_size)):
            raise ConfigError(f"tokens = {self.tokens}: expected at least {most}, those of a key or value")
        needed = 2 * (self.key_size + self.value_size)
        for length in (self.length, *self.lengths):
            if length < needed:
                raise ConfigError(f"a length of {length}: expected at least {needed}, two pairs")
        return MotifRecallDataset(self)


class MotifRecallDataset(Generated):
    """Pairs and noise. The evidence of a token is where it stood behind the same key before."""

    def __init__(self, task: MotifRecall) -> None:
        self.task = task
        tokens = (f"{kind}{n}" for kind in "kvn" for n in range(task.tokens))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *tokens), " ")
        self.lengths = {"valid": task.length, **{f"length{length}": length for length in task.lengths}}
        super().__init__(task, splits=tuple(self.lengths), size=task.held_out, longer=tuple(self.lengths)[1:])

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences of the length that `split` has."""
        task, length = self.task, self.lengths.get(split, self.task.length)
        keys = self.motifs(stream, count, task.key_size, FIRST)
        values = self.motifs(stream, count, task.value_size, FIRST + task.tokens)
        # Of equal keys the first has the value.
        first = (keys[:, :, None] == keys[:, None]).all(axis=3).argmax(axis=2)
        values = np.take_along_axis(values, first[:, :, None], axis=1)
        pieces = length // 2
        drawn = stream.below(task.pairs, count, pieces)
        noisy = stream.uniform(count, pieces) < task.noise
        noisy[:, 0] = False
        noise = (
            FIRST
            + 2 * task.tokens
            + stream.below(task.tokens, count, pieces, keys.shape[2] + values.shape[2])
        )
        pair = np.concatenate([keys, values], axis=2)
        row = np.take_along_axis(pair, drawn[:, :, None], axis=1)
        row = np.where(noisy[:, :, None] & (row != PAD), noise, row)
        # As many whole pieces as leave room for one more pair, which is one of them.
        size = np.count_nonzero(row != PAD, axis=2)
        kept = np.cumsum(size, axis=1) <= length - pair.shape[2]
        told = np.where(kept & ~noisy, stream.uniform(count, pieces), -1).argmax(axis=1)
        last = kept.sum(axis=1)
        row[~kept] = PAD
        row[np.arange(count), last] = np.take_along_axis(row, told[:, None, None], axis=1)[:, 0]
        key = np.take_along_axis(first, drawn, axis=1)
        key[np.arange(count), last] = np.take_along_axis(key, told[:, None], axis=1)[:, 0]
        noisy[np.arange(count), last] = False
        known = ~noisy & seen_before(np.where(noisy, -1, key))
        asked = np.zeros(row.shape, bool)
        asked[:, :, task.key_size :] = known[:, :, None]
        return self.asked(row.reshape(count, -1), (asked & (row != PAD)).reshape(count, -1), length)

    def motifs(self, stream: Stream, count: int, size: int, first: int) -> np.ndarray:
        """`[count, pairs, size]`: 1 to `size` different tokens, padded."""
        pairs, tokens = self.task.pairs, self.task.tokens
        found = first + stream.orders(count * pairs, tokens)[:, :size].reshape(count, pairs, size)
        used = 1 + stream.below(size, count, pairs)
        return np.where(np.arange(size) < used[:, :, None], found, PAD)

    def asked(self, row: np.ndarray, asked: np.ndarray, length: int) -> Batch:
        """Batch of rows without the padding inside them and the tokens of them that are asked for."""
        order = np.argsort(row == PAD, axis=1, kind="stable")[:, :length]
        row, asked = (np.take_along_axis(array, order, axis=1) for array in (row, asked))
        labels = np.where(asked, row, PAD)
        later = np.cumsum(asked[:, ::-1], axis=1)[:, ::-1] > asked
        inputs = np.where(later, row, PAD)  # the last token is not read
        return layout.at_places(inputs[:, :-1], labels[:, 1:])

    def with_evidence(self, example: Example) -> Example:
        """The places where the value of the last key stood."""
        read = list(example.inputs)
        kinds = [(token - FIRST) // self.task.tokens for token in read]  # 0 for keys
        start = len(read)
        while kinds[start - 1] == 0:
            start -= 1
        key, found = read[start:], np.zeros((len(example.labels), len(read)), bool)
        for place in range(1, start):
            end = place + len(key)
            if read[place:end] == key and kinds[place - 1] != 0 and kinds[end] == 1:
                found[np.arange(len(found)), end + np.arange(len(found))] = True
        return dataclasses.replace(example, evidence=found)


def seen_before(keys: np.ndarray) -> np.ndarray:
    """`[rows, places]` bool: whether the same number stands earlier in the row.

    >>> seen_before(np.array([[3, 5, 3, 3]])).tolist()
    [[False, False, True, True]]
    """
    same = keys[:, :, None] == keys[:, None]
    return np.tril(same, -1).any(axis=2)
