"""Recall: values are looked up by keys that came earlier in the sequence."""

import dataclasses
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)


@options
class Recall(Task):
    """Multi-query associative recall: keys with their values, then keys again, whose values are asked for.

    The first half of the `vocabulary` are keys, the second values. A sequence begins with `pairs` different
    keys, each followed by its value (different ones). With `queries = "sparse"` every key comes once more, at
    one of the even places behind the pairs: the n-th of them with a probability proportional to
    n ** (power - 1), like gaps between repeated words in text; all other places hold random tokens of the
    vocabulary, or `.` without `filler`. With `queries = "dense"` the rest is keys drawn evenly from the known
    ones, each followed by its value. The value is to be predicted at each key that is asked for.

    >>> example, = Recall(vocabulary=8, pairs=2, length=12, filler=False).load().examples("valid", 1)
    >>> example.prompt
    'k1 v3 k3 v2 k1 . k3'
    >>> example.answer
    'v2'

    Attributes:
        vocabulary: keys and values together.
        pairs: keys of a sequence.
        length: tokens of a training sequence.
        queries: whether each key is asked for once, far apart, or keys are asked for all the time.
        power: shape of the gaps of sparse queries; 1 is even, towards 0 early places are more likely.
        filler: whether random tokens stand between sparse queries.
        lengths: tokens of the sequences of the splits `length<n>`, with as many pairs.
        held_out: sequences of each split.

    Source: Arora et al. 2023, arXiv 2312.04927, section 3.2 and appendix (MQAR; `sparse` is their rule).
    """

    vocabulary: Annotated[int, Ge(4), Le(65536)] = 256
    pairs: Annotated[int, Ge(1)] = 16
    length: Annotated[int, Ge(4)] = 128
    queries: Literal["sparse", "dense"] = "sparse"
    power: Annotated[float, Gt(0.0), Le(1.0)] = 0.01
    filler: bool = True
    lengths: tuple[int, ...] = (256, 512)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "RecallDataset":
        """Sequences without end. Raises `ConfigError` for sizes that do not fit together."""
        if self.pairs > self.vocabulary // 2:
            raise ConfigError(
                f"pairs = {self.pairs}: expected at most {self.vocabulary // 2}, half of the vocabulary"
            )
        for length in (self.length, *self.lengths):
            if length < 4 * self.pairs:
                raise ConfigError(f"a length of {length}: expected at least {4 * self.pairs}, 4 times pairs")
        return RecallDataset(self)


class RecallDataset(Generated):
    """Pairs and queries. The evidence of an answer is every place before it where its key's value stands."""

    read_back = False

    def __init__(self, task: Recall) -> None:
        self.task = task
        self.keys = task.vocabulary // 2
        self.blank = FIRST + task.vocabulary
        spelled = (f"k{key}" if key < self.keys else f"v{key - self.keys}" for key in range(task.vocabulary))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *spelled, "."), " ")
        self.lengths = {"valid": task.length, **{f"length{length}": length for length in task.lengths}}
        super().__init__(task, splits=tuple(self.lengths), size=task.held_out, longer=tuple(self.lengths)[1:])
        chance = 1 / task.pairs
        self.floors = {"loss": float(np.log(task.pairs)), "token_accuracy": chance, "exact_match": chance}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences of the length that `split` has."""
        task, length = self.task, self.lengths.get(split, self.task.length)
        keys = FIRST + stream.orders(count, self.keys)[:, : task.pairs]
        values = FIRST + self.keys + stream.orders(count, task.vocabulary - self.keys)[:, : task.pairs]
        pairs = np.stack([keys, values], axis=2).reshape(count, -1)
        places = (length - pairs.shape[1]) // 2
        tail = np.full((count, length - pairs.shape[1]), self.blank)
        labels = np.full_like(tail, Vocabulary.PAD)
        if task.queries == "dense":
            asked = stream.below(task.pairs, count, places)
            tail[:, : 2 * places : 2] = np.take_along_axis(keys, asked, axis=1)
            labels[:, : 2 * places : 2] = tail[:, 1 : 2 * places : 2] = np.take_along_axis(
                values, asked, axis=1
            )
        else:
            if task.filler:
                tail = FIRST + stream.below(task.vocabulary, *tail.shape)
            shares = np.arange(1.0, places + 1) ** (task.power - 1)
            at = 2 * np.argsort(-np.log1p(-stream.uniform(count, places)) / shares, axis=1)[:, : task.pairs]
            np.put_along_axis(tail, at, keys, axis=1)
            np.put_along_axis(labels, at, values, axis=1)
        return layout.at_places(
            np.concatenate([pairs, tail], axis=1), np.pad(labels, ((0, 0), (pairs.shape[1], 0)))
        )

    def with_evidence(self, example: Example) -> Example:
        """Where the value of the last key stood: behind the key, among the pairs or earlier dense queries."""
        read = np.array(example.inputs)
        told = 2 * self.task.pairs if self.task.queries == "sparse" else len(read) - 1
        found = np.zeros((1, len(read)), bool)
        found[0, 2 : told + 1] = read[1:told] == read[-1]
        return dataclasses.replace(example, evidence=found)
