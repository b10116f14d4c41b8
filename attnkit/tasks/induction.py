"""Induction: after a symbol comes what came after it before."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)


@options
class Induction(Task):
    """Random keys, each followed by its value; which value a key has is drawn anew for every sequence.

    A value is to be predicted at each key that was in the sequence before. No weights can hold the answer: it
    must be found in the sequence, by a head that looks at what came after the same key (an induction head),
    which needs a head before it that tells every token what came before it. Several keys may have one value.

    >>> example, = Induction(symbols=3, length=12).load().examples("valid", 1)
    >>> example.prompt
    'c C b C c C b C b C b'
    >>> example.answer
    'C'

    Attributes:
        symbols: how many keys there are, and how many values.
        length: tokens of a training sequence.
        lengths: tokens of the sequences of the splits `length<n>`.
        held_out: sequences of each split.

    Source: Olsson et al. 2022, "In-context learning and induction heads", transformer-circuits.pub.
    """

    symbols: Annotated[int, Ge(2), Le(26)] = 16
    length: Annotated[int, Ge(4)] = 64
    lengths: tuple[int, ...] = (128, 256)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "InductionDataset":
        """Sequences without end. Raises `ConfigError` for sequences in which no key must come twice."""
        for length in (self.length, *self.lengths):
            if length < 2 * (self.symbols + 1):
                raise ConfigError(
                    f"length = {length}: expected at least {2 * (self.symbols + 1)}, so that one of "
                    f"{self.symbols} keys comes twice"
                )
        return InductionDataset(self)


class InductionDataset(Generated):
    """Keys and values. The evidence of an answer is every earlier place behind the same key."""

    read_back = False

    def __init__(self, task: Induction) -> None:
        self.task = task
        names = [chr(ord("a") + number) for number in range(task.symbols)]
        tokens = (*Vocabulary.SPECIAL, *names, *(name.upper() for name in names))
        self.vocabulary = Vocabulary(tokens, " ")
        self.lengths = {"valid": task.length, **{f"length{length}": length for length in task.lengths}}
        super().__init__(task, splits=tuple(self.lengths), size=task.held_out, longer=tuple(self.lengths)[1:])
        self.floors = {**self.floors, **most_frequent_value(self.held_out["valid"])}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences of the length that `split` has, and the values of keys that came before."""
        pairs = self.lengths.get(split, self.task.length) // 2
        keys = stream.below(self.task.symbols, count, pairs)
        values = np.take_along_axis(stream.below(self.task.symbols, count, self.task.symbols), keys, axis=1)
        tokens = np.stack([FIRST + keys, FIRST + self.task.symbols + values], axis=2)
        order = np.argsort(keys, axis=1, kind="stable")
        again = np.diff(np.take_along_axis(keys, order, axis=1), axis=1, prepend=-1) == 0
        seen = np.empty_like(again)
        np.put_along_axis(seen, order, again, axis=1)
        labels = np.where(seen, tokens[:, :, 1], Vocabulary.PAD)
        labels = np.stack([labels, np.zeros_like(labels)], axis=2)
        return layout.at_places(tokens.reshape(count, -1), labels.reshape(count, -1))

    def with_evidence(self, example: Example) -> Example:
        """The places behind earlier occurrences of the last key."""
        read = np.array(example.inputs)
        found = np.concatenate([[False], read[:-1] == read[-1]])
        return dataclasses.replace(example, evidence=found[None])


def most_frequent_value(batch: Batch) -> dict[str, float]:
    """Accuracy of always predicting the most frequent value of the sequence so far."""
    hits = asked = last = 0
    for inputs, labels in zip(batch["inputs"], batch["labels"], strict=True):
        hit = False
        counts = np.zeros(inputs.max() + 1, int)
        for place in range(1, len(inputs)):
            if place % 2 == 0:
                counts[inputs[place]] += 1
            elif labels[place] != Vocabulary.PAD:
                hit = bool(counts.argmax() == labels[place])
                hits, asked = hits + hit, asked + 1
        last += hit
    return {"token_accuracy": hits / asked, "exact_match": last / len(batch["inputs"])}
