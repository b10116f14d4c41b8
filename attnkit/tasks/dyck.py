"""Dyck languages: well-nested brackets of several kinds."""

import dataclasses
import math
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
class Dyck(Task):
    """Prefixes of words of well-nested brackets of `kinds` kinds, at most `depth` deep.

    At each place a bracket opens with probability 1/2; it must where none is open, and cannot where `depth`
    are. Where a bracket closes, its kind is asked for: at `?`, which stands for a closing bracket whose kind
    is to be told, so that the brackets read so far decide the answer. The last place always asks.

    >>> example, = Dyck(kinds=2, depth=3, length=8).load().examples("valid", 1)
    >>> example.prompt
    '(a ? (b (b ? ? (a ?'
    >>> example.answer
    'a)'

    Attributes:
        kinds: how many kinds of brackets there are.
        depth: how many may be open at once.
        length: tokens of a training sequence, an even number.
        lengths: tokens of the sequences of the splits `length<n>`.
        held_out: sequences of each split.

    Source: Hewitt et al. 2020, arXiv 2010.07515 (Dyck-(k, m), bounded depth); Yao et al. 2021,
    arXiv 2105.11115, section 5 (accuracy at closing brackets).
    """

    kinds: Annotated[int, Ge(2), Le(26)] = 4
    depth: Annotated[int, Ge(1)] = 8
    length: Annotated[int, Ge(2)] = 64
    lengths: tuple[int, ...] = (128, 256)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "DyckDataset":
        """Sequences without end. Raises `ConfigError` for an odd length."""
        for length in (self.length, *self.lengths):
            if length % 2:
                raise ConfigError(f"length = {length}: expected an even number, so that the last can close")
        return DyckDataset(self)


class DyckDataset(Generated):
    """Brackets. The evidence of an answer is the bracket that it closes."""

    read_back = False

    def __init__(self, task: Dyck) -> None:
        self.task = task
        names = [chr(ord("a") + number) for number in range(task.kinds)]
        tokens = (*(f"({name}" for name in names), "?", *(f"{name})" for name in names))
        self.asks = FIRST + task.kinds
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *tokens), " ")
        self.lengths = {f"length{length}": length for length in task.lengths}
        super().__init__(
            task, splits=("valid", *self.lengths), size=task.held_out, longer=tuple(self.lengths)
        )
        chance = 1 / task.kinds
        self.floors = {"loss": math.log(task.kinds), "token_accuracy": chance, "exact_match": chance}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences of the length that `split` has."""
        task, length = self.task, self.lengths.get(split, self.task.length)
        kinds, flips = stream.below(task.kinds, count, length), stream.below(2, count, length) == 1
        stack, open_ = np.zeros((count, task.depth), int), np.zeros(count, int)
        tokens, labels = np.zeros((2, count, length), int)
        rows = np.arange(count)
        for place in range(length):
            opens = np.where(open_ == 0, True, np.where(open_ == task.depth, False, flips[:, place]))
            if place == length - 1:
                opens[:] = False  # an even number of brackets: one is open
            top = stack[rows, np.maximum(open_ - 1, 0)]
            tokens[:, place] = np.where(opens, FIRST + kinds[:, place], self.asks)
            labels[:, place] = np.where(opens, Vocabulary.PAD, self.asks + 1 + top)
            stack[rows[opens], open_[opens]] = kinds[opens, place]
            open_ += np.where(opens, 1, -1)
        return layout.at_places(tokens, labels)

    def with_evidence(self, example: Example) -> Example:
        """The bracket that the last `?` closes."""
        found = np.zeros((1, len(example.inputs)), bool)
        stack: list[int] = []
        for place, token in enumerate(example.inputs[1:-1], 1):
            if token == self.asks:
                stack.pop()
            else:
                stack.append(place)
        found[0, stack[-1]] = True
        return dataclasses.replace(example, evidence=found)
