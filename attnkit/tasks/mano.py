"""Mano: arithmetic with tables that must be known by heart, on expressions of several steps."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)


@options
class Mano(Task):
    """The value of an expression in prefix notation, modulo a prime, without steps in between.

    An expression of `n` operations begins with the token `#n` and ends with `=n`. Its first operation has a
    left part of 0 to `n - 1` operations, each number of them equally likely, and so on; every operation and
    every number is equally likely. What each operation gives for each pair of numbers is nowhere in the text:
    a model must learn the tables, and apply them as many times as there are operations within its depth.

    >>> example, = Mano(operations=3).load().examples("longest", 1)
    >>> example.prompt
    '#3 * - 5 + 4 4 9 =3'
    >>> example.answer  # 9 (5 - (4 + 4)) = -27, and -27 + 46 = 19
    '19'

    Attributes:
        operations: most operations of an expression; training has 1 to that many, equally often.
        modulus: how many numbers there are.
        signs: operations: addition, subtraction and multiplication in the paper.
        held_out: expressions of each split. `valid` is like training, `longest` has `operations` operations.

    Source: Allen-Zhu 2025 (Physics of Language Models 4.1), arXiv 2512.17351, with 10, 13 and 16 operations;
    the authors' mano.py, without its second names of tokens.
    """

    operations: Annotated[int, Ge(1)] = 10
    modulus: Annotated[int, Ge(2)] = 23
    signs: Literal["+-", "+-*"] = "+-*"
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "ManoDataset":
        """Expressions without end."""
        return ManoDataset(self)


class ManoDataset(Generated):
    """Expressions and their values. The evidence of an answer is the whole expression."""

    def __init__(self, task: Mano) -> None:
        self.task = task
        numbers = [str(number) for number in range(task.modulus)]
        marks = [f"{mark}{n}" for mark in "#=" for n in range(1, task.operations + 1)]
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *numbers, *task.signs, *marks), " ")
        super().__init__(task, splits=("valid", "longest"), size=task.held_out)

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Expressions of 1 to `operations` operations, of that many for `longest`."""
        task, most = self.task, self.task.operations
        sizes = np.full(count, most) if split == "longest" else stream.between(1, most, count)
        signs, parts = stream.below(len(task.signs), count, most), stream.words(count, most)
        numbers = stream.below(task.modulus, count, most + 1)
        prompts = np.full((count, 2 * most + 3), Vocabulary.PAD)
        answers = np.zeros((count, 1), np.int64)
        mark = FIRST + task.modulus + len(task.signs) - 1
        for row, size in enumerate(sizes.tolist()):
            tokens, value = expression(size, [iter(a[row].tolist()) for a in (signs, parts, numbers)], task)
            prompts[row, : 2 * size + 3] = [mark + size, *(FIRST + t for t in tokens), mark + most + size]
            answers[row] = FIRST + value
        return layout.after_prompt(prompts, answers)

    def with_evidence(self, example: Example) -> Example:
        """Every token of the expression counts, and nothing before or after it."""
        found = np.ones((1, len(example.inputs)), bool)
        found[0, [0, 1, -1]] = False
        return dataclasses.replace(example, evidence=found)


def expression(size: int, draws: Sequence[Iterator[int]], task: Mano) -> tuple[list[int], int]:
    """Tokens of an expression of `size` operations, and its value. A sign is `modulus` plus its place.

    `draws` are those of signs, of the sizes of left parts, and of numbers.
    """
    signs, parts, numbers = draws
    if size == 0:
        value = next(numbers)
        return [value], value
    sign, before = next(signs), next(parts) % size
    (left, a), (right, b) = (expression(n, draws, task) for n in (before, size - 1 - before))
    value = {"+": a + b, "-": a - b, "*": a * b}[task.signs[sign]] % task.modulus
    return [task.modulus + sign, *left, *right], value
