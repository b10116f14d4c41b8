"""State tracking: the running product of group elements."""

import dataclasses
import itertools
import math
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
class StateTracking(Task):
    """The word problem of a group: after each element, the product of all elements so far.

    The product of permutations `a b` is `a` after `b`: `(a b)(n) = a(b(n))`. After `x_1 ... x_t` the answer
    is `x_1 x_2 ... x_t`. An element is written as the images of 1, 2, ...; one of `z2` or `z60` as a number.
    State transitions with positive eigenvalues cannot track even parity (`z2`) in one layer; products of
    reflections can track `s3`. A5 and S5 are not solvable: no fixed depth of attention or of diagonal
    recurrences tracks them at every length (unless TC0 = NC1).

    >>> example, = StateTracking(group="s3", length=4).load().examples("valid", 1)
    >>> example.prompt
    '213 132 321 132'
    >>> example.answer
    '123'

    Attributes:
        group: the symmetric group of 3 or 5, the alternating group of 5, or addition modulo 2 or 60.
        length: elements of a training sequence; every place is asked for, so shorter words are in it.
        lengths: elements of the sequences of the splits `length<n>`.
        held_out: sequences of each split.

    Source: Merrill, Petty & Sabharwal 2024, arXiv 2404.08819; Grazzi et al. 2024, arXiv 2411.12537.
    """

    group: Literal["s3", "s5", "a5", "z2", "z60"] = "s3"
    length: Annotated[int, Ge(2)] = 20
    lengths: tuple[Annotated[int, Ge(2)], ...] = (40, 80)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "StateTrackingDataset":
        """Words without end."""
        return StateTrackingDataset(self)


class StateTrackingDataset(Generated):
    """Words and their running products. The evidence of an answer is the whole word."""

    read_back = False

    def __init__(self, task: StateTracking) -> None:
        self.task = task
        names, self.products = group_table(task.group)
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *names), " ")
        self.lengths = {f"length{length}": length for length in task.lengths}
        super().__init__(
            task, splits=("valid", *self.lengths), size=task.held_out, longer=tuple(self.lengths)
        )
        chance = 1 / len(names)
        self.floors = {"loss": math.log(len(names)), "token_accuracy": chance, "exact_match": chance}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Words of the length that `split` has."""
        length = self.lengths.get(split, self.task.length)
        word = stream.below(len(self.products), count, length)
        states = word.copy()
        for place in range(1, length):
            states[:, place] = self.products[states[:, place - 1], word[:, place]]
        return layout.at_places(FIRST + word, FIRST + states)

    def with_evidence(self, example: Example) -> Example:
        """Every element counts."""
        found = np.ones((1, len(example.inputs)), bool)
        found[0, 0] = False
        return dataclasses.replace(example, evidence=found)


def group_table(group: str) -> tuple[list[str], np.ndarray]:
    """Names of the elements of a group, and `products[a, b]`, the number of the element `a b`."""
    if group[0] == "z":
        numbers = np.arange(order := int(group[1:]))
        return [str(number) for number in numbers], (numbers[:, None] + numbers) % order
    points = int(group[1])
    elements = [p for p in itertools.permutations(range(points)) if group[0] == "s" or is_even(p)]
    number = {element: n for n, element in enumerate(elements)}
    products = [[number[tuple(a[n] for n in b)] for b in elements] for a in elements]
    return ["".join(str(1 + n) for n in element) for element in elements], np.array(products)


def is_even(permutation: tuple[int, ...]) -> bool:
    """Whether a permutation is the product of an even number of swaps."""
    swapped = (a > b for a, b in itertools.combinations(permutation, 2))
    return sum(swapped) % 2 == 0
