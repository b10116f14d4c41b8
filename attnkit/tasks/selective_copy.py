"""Selective copy: the few symbols that matter, in order, out of many that do not."""

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
class SelectiveCopy(Task):
    """Random letters at random places of a row of blanks; then, at each `?`, the next of them is to be said.

    A row is `length - copied` places long, `copied` of which hold a letter and the others a blank, and is
    followed by `copied` times `?`. The n-th `?` asks for the n-th letter. What is said is not read back.
    The distances are random, so a convolution or a fixed pattern cannot do it: letters must be told from
    blanks, and counted.

    >>> example, = SelectiveCopy(letters=3, copied=4, length=16).load().examples("valid", 1)
    >>> example.prompt
    '....cb....cb????'
    >>> example.answer
    'b'

    Attributes:
        letters: size of the alphabet.
        copied: letters of a row.
        length: tokens of a training sequence, the `?` included.
        lengths: tokens of the sequences of the splits `length<n>`, with as many letters.
        held_out: sequences of each split.

    Source: Poli et al. 2024, arXiv 2403.17844, appendix (selective copying of MAD); Gu and Dao 2023, arXiv
    2312.00752, section 4.1.
    """

    letters: Annotated[int, Ge(2), Le(26)] = 14
    copied: Annotated[int, Ge(1)] = 16
    length: Annotated[int, Ge(2)] = 96
    lengths: tuple[int, ...] = (192, 384)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "SelectiveCopyDataset":
        """Sequences without end. Raises `ConfigError` for rows too short for the letters."""
        for length in (self.length, *self.lengths):
            if length < 2 * self.copied:
                raise ConfigError(f"a length of {length}: expected at least {2 * self.copied}, twice copied")
        return SelectiveCopyDataset(self)


class SelectiveCopyDataset(Generated):
    """Letters among blanks. The evidence of an answer is the place of its letter.

    The floor is looking at the one place where the letter is most probable, and guessing if it is blank.
    """

    read_back = False

    def __init__(self, task: SelectiveCopy) -> None:
        self.task = task
        letters = (chr(ord("a") + number) for number in range(task.letters))
        self.blank, self.ask = FIRST + task.letters, FIRST + task.letters + 1
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *letters, ".", "?"))
        self.lengths = {"valid": task.length, **{f"length{length}": length for length in task.lengths}}
        super().__init__(task, splits=tuple(self.lengths), size=task.held_out, longer=tuple(self.lengths)[1:])
        sure = best_places(task.length - task.copied, task.copied)
        hits = sure + (1 - sure) / task.letters
        self.floors = {
            **self.floors,
            "token_accuracy": float(hits.mean()),
            "exact_match": float(hits[-1]),
        }

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Rows of the length that `split` has."""
        copied = self.task.copied
        places = self.lengths.get(split, self.task.length) - copied
        letters = FIRST + stream.below(self.task.letters, count, copied)
        row = np.full((count, places), self.blank)
        np.put_along_axis(row, np.sort(stream.orders(count, places)[:, :copied], axis=1), letters, axis=1)
        tokens = np.concatenate([row, np.full((count, copied), self.ask)], axis=1)
        return layout.at_places(tokens, np.pad(letters, ((0, 0), (places, 0))))

    def with_evidence(self, example: Example) -> Example:
        """The place of the letter that the last `?` asks for: the last letter."""
        read = np.array(example.inputs)
        letters = np.flatnonzero((read >= FIRST) & (read < self.blank))
        return dataclasses.replace(example, evidence=(np.arange(len(read)) == letters[-1])[None])


def best_places(places: int, copied: int) -> np.ndarray:
    """`[copied]`: how probable each letter is at its most probable place, letters being at random places.

    >>> best_places(4, 2).tolist()
    [0.5, 0.5]
    """
    ways = [
        [math.comb(place, n) * math.comb(places - place - 1, copied - n - 1) for place in range(places)]
        for n in range(copied)
    ]
    return np.array([max(row) / math.comb(places, copied) for row in ways])
