"""Counter languages: words a^n b^n, a^n b^n c^n and so on."""

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
class CounterLanguage(Task):
    """Words of equally long blocks of different letters, one word after the other.

    `letters = 2` is a^n b^n, a context-free language, and 3 is a^n b^n c^n, which is not. The number n is
    drawn evenly from 1 .. `longest` for every word. How many `a` a word begins with cannot be known; from
    the first `b` on everything is determined, the `a` of the next word included, and is asked for.

    >>> example, = CounterLanguage(longest=3, length=20).load().examples("valid", 1)
    >>> example.prompt
    'aaabbbcccaabbccaaab'
    >>> example.answer
    'b'

    Attributes:
        letters: blocks of a word.
        longest: most letters of a block in training.
        longer: the same in the splits `longest<n>`.
        length: tokens of a training sequence; those of the other splits are longer as their blocks are.
        held_out: sequences of each split.

    Source: Gers & Schmidhuber 2001, IEEE Transactions on Neural Networks 12(6) (LSTM); Weiss, Goldberg &
    Yahav 2018, arXiv 1805.04908 (an LSTM can count, a GRU cannot).
    """

    letters: Annotated[int, Ge(2), Le(26)] = 3
    longest: Annotated[int, Ge(1)] = 8
    longer: tuple[int, ...] = (16, 32)
    length: Annotated[int, Ge(2)] = 96
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "CounterLanguageDataset":
        """Sequences without end. Raises `ConfigError` for sizes that do not fit together."""
        needed = 2 * self.letters * self.longest
        if self.length < needed:
            raise ConfigError(f"length = {self.length}: expected at least {needed}, two of the longest words")
        if min(self.longer, default=self.longest + 1) <= self.longest:
            raise ConfigError(f"longer = {list(self.longer)}: expected more than longest = {self.longest}")
        return CounterLanguageDataset(self)


class CounterLanguageDataset(Generated):
    """Words. The evidence of a letter is the first block of its word."""

    read_back = False

    def __init__(self, task: CounterLanguage) -> None:
        self.task = task
        letters = (chr(ord("a") + number) for number in range(task.letters))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *letters))
        self.longest = {f"longest{longest}": longest for longest in task.longer}
        super().__init__(
            task, splits=("valid", *self.longest), size=task.held_out, longer=tuple(self.longest)
        )

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences with blocks as long as `split` has."""
        task, longest = self.task, self.longest.get(split, self.task.longest)
        length = task.length * longest // task.longest
        size = stream.between(1, longest, count, length // task.letters + 1)
        size = np.repeat(size, task.letters, axis=1)
        ends = np.cumsum(size, axis=1)
        place = np.arange(length)
        block = (place >= ends[:, :, None]).sum(axis=1)
        letter = block % task.letters
        begins = np.diff(block, axis=1, prepend=block[:, :1]) > 0
        known = np.where(begins, letter != 1, letter != 0)
        tokens = FIRST + letter
        asked = np.where(known, tokens, Vocabulary.PAD)
        return layout.at_places(tokens[:, :-1], asked[:, 1:])

    def with_evidence(self, example: Example) -> Example:
        """The `a` of the last word that was begun."""
        first = np.array(example.inputs) == FIRST
        last = len(first) - 1 - int(first[::-1].argmax())
        start = last - int(first[: last + 1][::-1].argmin())
        found = np.zeros((1, len(first)), bool)
        found[0, start + 1 : last + 1] = True
        return dataclasses.replace(example, evidence=found)
