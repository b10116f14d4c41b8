"""Copy, reverse or sort a string of random letters."""

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

LETTERS = "abcdefghijklmnopqrstuvwxyz"
FIRST = len(Vocabulary.SPECIAL)


@options
class Copy(Task):
    """Write a string of random letters again: as it was, from its end, or in alphabetical order.

    The string's length is drawn evenly from `shortest` .. `longest`, each letter evenly from the first
    `letters` of the alphabet. With `layout = "prompt"` a decoder reads `BEGIN x =` and writes `x END`; with
    `layout = "source"` an encoder reads `x`. Each entry `n` of `lengths` adds a split `length<n>` of strings
    of exactly `n` letters.

    >>> example, = Copy(order="reversed", letters=3).load().examples("length16", 1)
    >>> example.prompt
    'bbbabcbcacacbabc='
    >>> example.answer
    'cbabcacacbcbabbb'

    Attributes:
        order: what is to be written.
        layout: a decoder's prompt, or an encoder's source.
        letters: size of the alphabet.
        shortest: fewest letters of a training string.
        longest: most letters of a training string.
        lengths: lengths of the extrapolation splits.
        held_out: strings of each split.

    Source: Jelassi et al. 2024, arXiv 2402.01032 (copying random letters, strings longer than in training);
    Kazemnejad et al. 2023, arXiv 2305.19466 (copy, reverse, sort).
    """

    order: Literal["same", "reversed", "sorted"] = "same"
    layout: Literal["prompt", "source"] = "prompt"
    letters: Annotated[int, Ge(2), Le(26)] = 26
    shortest: Annotated[int, Ge(1)] = 2
    longest: Annotated[int, Ge(1)] = 16
    lengths: tuple[int, ...] = (16, 18, 20, 24, 32, 48)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "CopyDataset":
        """Strings without end. Raises `ConfigError` for lengths that cannot be."""
        if self.shortest > self.longest:
            raise ConfigError(f"shortest = {self.shortest}: expected at most longest = {self.longest}")
        if len(set(self.lengths)) < len(self.lengths) or min(self.lengths, default=1) < 1:
            raise ConfigError(f"lengths = {list(self.lengths)}: expected different numbers of at least 1")
        return CopyDataset(self)


class CopyDataset(Generated):
    """Random strings and their copies. The evidence of a letter is where it stands in the string."""

    def __init__(self, task: Copy) -> None:
        self.task = task
        letters = tuple(LETTERS[: task.letters])
        if task.layout == "prompt":
            self.separator = FIRST + task.letters
            self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *letters, "="))
        else:
            self.vocabulary = self.source_vocabulary = Vocabulary((*Vocabulary.SPECIAL, *letters))
        self.lengths = {f"length{number}": number for number in task.lengths}
        longer = [split for split, number in self.lengths.items() if number > task.longest]
        super().__init__(task, splits=("valid", *self.lengths), size=task.held_out, longer=longer)

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Strings of `shortest` to `longest` letters, or of exactly what `split` says."""
        longest = self.lengths.get(split, self.task.longest)
        size = stream.between(self.lengths.get(split, self.task.shortest), longest, count)
        strings = FIRST + stream.below(self.task.letters, count, longest)
        strings[np.arange(longest) >= size[:, None]] = Vocabulary.PAD
        answers = layout.behind(rearranged(strings, self.task.order), np.full((count, 1), Vocabulary.END))
        if self.separator is None:
            return layout.beside_source(strings, answers)
        ends = np.full((count, 1), self.separator)
        return layout.after_prompt(layout.behind(strings, ends), answers)

    def with_evidence(self, example: Example) -> Example:
        """The places of the string that hold what each letter copies; any equal letter when sorting."""
        read = np.array(example.source if example.source is not None else example.inputs[1:-1])
        wrote = np.array(example.labels[:-1])
        if self.task.order == "sorted":
            places = wrote[:, None] == read
        else:
            places = np.eye(len(read), dtype=bool)[:: 1 if self.task.order == "same" else -1]
        around = ((0, 1), (0, 0)) if example.source is not None else ((0, 1), (1, 1))
        return dataclasses.replace(example, evidence=np.pad(places, around))


def rearranged(strings: np.ndarray, order: str) -> np.ndarray:
    """Each row of `strings` in the order that a task asks for, padding behind it.

    >>> rearranged(np.array([[5, 3, 4, 0]]), "reversed").tolist()
    [[4, 3, 5, 0]]
    """
    if order == "sorted":
        real = strings != Vocabulary.PAD
        return np.where(real, np.sort(np.where(real, strings, strings.max() + 1), axis=1), Vocabulary.PAD)
    if order == "reversed":
        turned = layout.lengths(strings)[:, None] - 1 - np.arange(strings.shape[1])
        return np.where(
            turned >= 0, np.take_along_axis(strings, np.maximum(turned, 0), axis=1), Vocabulary.PAD
        )
    return strings
