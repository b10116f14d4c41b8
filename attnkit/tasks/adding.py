"""The adding problem: the sum of the two marked numbers of a long sequence."""

from typing import Annotated

import numpy as np
from annotated_types import Ge

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks.contract import Batch, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream


@options
class Adding(Task):
    """Add the two marked numbers of a sequence of random ones.

    An encoder reads `length` vectors (number, mark): the numbers are evenly spread over [0, 1), the mark is
    1 at one place of the first half and at one of the second, and 0 elsewhere. The target is the sum of the
    two marked numbers. Saying 1 every time costs 1/6; the distance over which a number must be remembered
    grows with the length, for a network that reads one after the other, and not for attention.

    >>> data = Adding(length=6, lengths=()).load()
    >>> batch = data.batch(0, 0, 1)
    >>> [f"{number:.2f}{' marked' if mark else ''}" for number, mark in batch["source_features"][0]]
    ['0.90 marked', '0.55', '0.42', '0.70', '0.94 marked', '0.85']
    >>> f"{batch['targets'][0, 0]:.2f}"
    '1.84'

    Attributes:
        length: numbers of a training sequence.
        lengths: numbers of the sequences of the splits `length<n>`.
        held_out: sequences of each split.

    Source: Hochreiter and Schmidhuber 1997, "Long short-term memory", experiment 4; in the form of Le, Jaitly
    and Hinton 2015, arXiv 1504.00941, section 4.1.
    """

    length: Annotated[int, Ge(2)] = 50
    lengths: tuple[int, ...] = (100, 200, 400)
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "AddingDataset":
        """Sequences without end. Raises `ConfigError` for sequences without two halves."""
        if min(self.lengths, default=2) < 2:
            raise ConfigError(f"lengths = {list(self.lengths)}: expected numbers of at least 2")
        return AddingDataset(self)


class AddingDataset(Generated):
    """Marked numbers and their sums."""

    vocabulary = Vocabulary(Vocabulary.SPECIAL)

    def __init__(self, task: Adding) -> None:
        self.task = task
        self.lengths = {"valid": task.length, **{f"length{length}": length for length in task.lengths}}
        longer = [split for split, length in self.lengths.items() if length > task.length]
        super().__init__(
            task, splits=tuple(self.lengths), size=task.held_out, longer=longer, ceilings={"loss": 0.0}
        )
        self.floors = {"loss": 1 / 6}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences of the length that `split` has."""
        length = self.lengths.get(split, self.task.length)
        half = length // 2
        numbers = stream.uniform(count, length)
        marked = np.stack([stream.below(half, count), half + stream.below(length - half, count)], axis=1)
        marks = np.zeros((count, length))
        np.put_along_axis(marks, marked, 1.0, axis=1)
        return {
            "inputs": np.full((count, 1), Vocabulary.BEGIN, np.int32),
            "targets": np.sum(numbers * marks, axis=1, keepdims=True).astype(np.float32),
            "weights": np.ones((count, 1), np.float32),
            "source_features": np.stack([numbers, marks], axis=2).astype(np.float32),
            "source_length": np.full(count, length, np.int32),
        }
