"""Sets: the greatest of a few numbers, in whatever order they come."""

import dataclasses
from typing import Annotated, Literal

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
class Set(Task):
    """Say the maximum of a set of whole numbers.

    A set has `fewest` to `most` numbers from 1 .. `greatest`, drawn with replacement. With `read =
    "numbers"` an encoder reads each as one number, divided by `greatest`, and the maximum, divided
    likewise, is to be predicted as a number. With `read = "tokens"` the numbers are tokens without size or
    order, and the maximum is a class. Each entry `n` of `sizes` adds a split `size<n>` of sets of exactly
    `n` numbers.

    >>> example, = Set(read="tokens").load().examples("size10", 1)
    >>> example.prompt
    '20 10 87 15 77 7 24 73 91 92'
    >>> example.answer
    '92'

    Attributes:
        read: what the numbers are to the encoder.
        greatest: numbers are 1 .. `greatest`.
        fewest: fewest numbers of a set.
        most: most numbers of a set.
        sizes: numbers of the sets of further splits.
        held_out: sets of each split.

    Source: Lee et al. 2018, arXiv 1810.00825, section 5.1 (maximum of a set, as `numbers`).
    """

    read: Literal["numbers", "tokens"] = "numbers"
    greatest: Annotated[int, Ge(2), Le(1000)] = 100
    fewest: Annotated[int, Ge(1)] = 1
    most: Annotated[int, Ge(1)] = 10
    sizes: tuple[int, ...] = (10, 20, 40)
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "SetDataset":
        """Sets without end. Raises `ConfigError` for sizes that cannot be."""
        if self.fewest > self.most:
            raise ConfigError(f"fewest = {self.fewest}: expected at most most = {self.most}")
        if min(self.sizes, default=1) < 1:
            raise ConfigError(f"sizes = {list(self.sizes)}: expected numbers of at least 1")
        return SetDataset(self)


class SetDataset(Generated):
    """Sets and their maxima. The evidence of a maximum is every place that holds it.

    The floor of a class is saying the first number, that of a number is saying the mean maximum.
    """

    def __init__(self, task: Set) -> None:
        self.task = task
        self.lengths = {f"size{number}": number for number in task.sizes}
        tokens = tuple(str(number) for number in range(1, task.greatest + 1))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *(tokens if task.read == "tokens" else ())), " ")
        self.source_vocabulary = self.vocabulary if task.read == "tokens" else None
        longer = [split for split, number in self.lengths.items() if number > task.most]
        super().__init__(task, splits=("valid", *self.lengths), size=task.held_out, longer=longer)
        if self.numbers:
            self.ceilings = {"loss": 0.0}
        else:
            valid = self.held_out["valid"]
            share = float(np.mean(valid["source"][:, 0] == valid["labels"][:, 0]))
            self.floors = {**self.floors, "token_accuracy": share, "exact_match": share}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sets of the size that `split` says."""
        most = self.lengths.get(split, self.task.most)
        size = stream.between(self.lengths.get(split, self.task.fewest), most, count)
        numbers = stream.between(1, self.task.greatest, count, most)
        numbers[np.arange(most) >= size[:, None]] = 0
        top = numbers.max(axis=1)
        if self.task.read == "tokens":
            return layout.classified(
                np.where(numbers > 0, FIRST - 1 + numbers, Vocabulary.PAD), FIRST - 1 + top
            )
        return {
            "inputs": np.full((count, 1), Vocabulary.BEGIN, np.int32),
            "targets": (top[:, None] / self.task.greatest).astype(np.float32),
            "weights": np.ones((count, 1), np.float32),
            "source_features": (numbers[:, :, None] / self.task.greatest).astype(np.float32),
            "source_length": size.astype(np.int32),
        }

    def with_evidence(self, example: Example) -> Example:
        """The places of the maximum."""
        return dataclasses.replace(example, evidence=np.array([example.source]) == example.labels[0])
