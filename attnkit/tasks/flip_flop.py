"""Flip-flop language: the bit that was written last, however long ago."""

import dataclasses
import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

WRITE, READ, IGNORE, ZERO = range(len(Vocabulary.SPECIAL), len(Vocabulary.SPECIAL) + 4)


@options
class FlipFlop(Task):
    """Instructions and bits: `w` writes its bit, `r` is followed by the bit written last, `i` by any.

    The first instruction is `w` and the last `r`; the others are `i` with probability `ignore`, and otherwise
    `w` or `r` with equal chances. The bit behind each `r` is to be predicted. The split `sparse` has few
    writes, `dense` few ignored bits: recurrent networks make no mistakes there, attention rare ones that more
    data does not remove.

    >>> example, = FlipFlop(length=10, ignore=0.5).load().examples("valid", 1)
    >>> example.prompt
    'w 1 w 0 i 0 w 1 r'
    >>> example.answer
    '1'

    Attributes:
        length: tokens of a sequence, two for each instruction.
        ignore: probability of `i` in training and in the split `valid`.
        sparse: the same in the split `sparse`.
        dense: the same in the split `dense`.
        held_out: sequences of each split.

    Source: Liu et al. 2023, arXiv 2306.00946, section 3 (512 tokens; .8, .98 and .1).
    """

    length: Annotated[int, Ge(4)] = 128
    ignore: Annotated[float, Gt(0.0), Lt(1.0)] = 0.8
    sparse: Annotated[float, Gt(0.0), Lt(1.0)] = 0.98
    dense: Annotated[float, Gt(0.0), Le(1.0)] = 0.1
    held_out: Annotated[int, Ge(1)] = 1024

    def load(self) -> "FlipFlopDataset":
        """Sequences without end. Raises `ConfigError` for an odd length."""
        if self.length % 2:
            raise ConfigError(f"length = {self.length}: expected an even number, two for each instruction")
        return FlipFlopDataset(self)


class FlipFlopDataset(Generated):
    """Instructions and bits. The evidence of an answer is the bit of the last `w`."""

    read_back = False

    def __init__(self, task: FlipFlop) -> None:
        self.task = task
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, "w", "r", "i", "0", "1"), " ")
        super().__init__(task, splits=("valid", "sparse", "dense"), size=task.held_out)
        self.floors = {"loss": math.log(2), "token_accuracy": 0.5, "exact_match": 0.5}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences with as many ignored bits as `split` has."""
        ignore = getattr(self.task, split) if split in ("sparse", "dense") else self.task.ignore
        pairs = self.task.length // 2
        kinds = stream.categories(np.array([(1 - ignore) / 2, (1 - ignore) / 2, ignore]), count, pairs)
        kinds[:, 0], kinds[:, -1] = 0, READ - WRITE
        bits, written = stream.below(2, count, pairs), kinds == 0
        last = np.maximum.accumulate(np.where(written, np.arange(pairs), 0), axis=1)
        read = kinds == READ - WRITE
        bits = np.where(read, np.take_along_axis(bits, last, axis=1), bits)
        tokens = np.stack([WRITE + kinds, ZERO + bits], axis=2)
        labels = np.where(read, ZERO + bits, Vocabulary.PAD)
        labels = np.stack([labels, np.zeros_like(labels)], axis=2)
        # The bit behind the last `r` is the answer: it is not read.
        return layout.at_places(tokens.reshape(count, -1)[:, :-1], labels.reshape(count, -1)[:, :-1])

    def with_evidence(self, example: Example) -> Example:
        """The bit behind the last `w`."""
        read = np.array(example.inputs)
        found = np.zeros((1, len(read)), bool)
        found[0, np.flatnonzero(read == WRITE)[-1] + 1] = True
        return dataclasses.replace(example, evidence=found)
