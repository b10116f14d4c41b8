"""Toy translation: a made-up language with its own words and the opposite word order."""

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
DICTIONARY = 4
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
MOST_WORDS = 70


@options
class ToyTranslate(Task):
    """Translate sentences of random words by a fixed random dictionary, in another word order.

    A sentence has `shortest` to `longest` words. Every word has one translation (a different one each), or
    with `fertility` one or two, drawn once from `dictionary_seed`. The translated words come in the
    opposite order, in the same order, or with neighbors swapped (2 1 4 3 ...). Each entry `n` of `lengths`
    adds a split `length<n>` of sentences of exactly `n` words.

    >>> example, = ToyTranslate(words=5).load().examples("length5", 1)
    >>> example.prompt
    'ka ga ga fa ga'
    >>> example.answer
    'GA DA GA GA KA'

    Attributes:
        words: words of each language.
        shortest: fewest words of a training sentence.
        longest: most words of a training sentence.
        order: of the translation.
        fertility: whether about half of the words are translated by two words.
        lengths: words of the sentences of further splits.
        dictionary_seed: which dictionary; the training seed does not change it.
        held_out: sentences of each split.

    Source: Bahdanau et al. 2014, arXiv 1409.0473, figure 2: a fixed vector between encoder and decoder
    fails on long sentences, attention does not.
    """

    words: Annotated[int, Ge(2), Le(MOST_WORDS)] = 40
    shortest: Annotated[int, Ge(1)] = 3
    longest: Annotated[int, Ge(1)] = 20
    order: Literal["reversed", "same", "swapped"] = "reversed"
    fertility: bool = False
    lengths: tuple[int, ...] = (5, 10, 15, 20, 25)
    dictionary_seed: Annotated[int, Ge(0)] = 0
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "ToyTranslateDataset":
        """Sentences without end. Raises `ConfigError` for lengths that cannot be."""
        if self.shortest > self.longest:
            raise ConfigError(f"shortest = {self.shortest}: expected at most longest = {self.longest}")
        if len(set(self.lengths)) < len(self.lengths) or min(self.lengths, default=1) < 1:
            raise ConfigError(f"lengths = {list(self.lengths)}: expected different numbers of at least 1")
        return ToyTranslateDataset(self)


class ToyTranslateDataset(Generated):
    """Sentences and translations. The evidence of a word is the word that it translates."""

    def __init__(self, task: ToyTranslate) -> None:
        self.task = task
        stream = Stream(DICTIONARY, task.dictionary_seed)
        self.dictionary = np.full((FIRST + task.words, 2), Vocabulary.PAD)
        self.dictionary[FIRST:, 0] = FIRST + stream.orders(1, task.words)[0]
        if task.fertility:
            second = FIRST + stream.below(task.words, task.words)
            self.dictionary[FIRST:, 1] = np.where(stream.below(2, task.words), second, Vocabulary.PAD)
        words = [consonant + vowel for vowel in VOWELS for consonant in CONSONANTS][: task.words]
        self.source_vocabulary = Vocabulary((*Vocabulary.SPECIAL, *words), " ")
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *(word.upper() for word in words)), " ")
        self.lengths = {f"length{number}": number for number in task.lengths}
        longer = [split for split, number in self.lengths.items() if number > task.longest]
        super().__init__(task, splits=("valid", *self.lengths), size=task.held_out, longer=longer)

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sentences of `shortest` to `longest` words, or of exactly what `split` says."""
        longest = self.lengths.get(split, self.task.longest)
        size = stream.between(self.lengths.get(split, self.task.shortest), longest, count)
        sentences = FIRST + stream.below(self.task.words, count, longest)
        sentences[np.arange(longest) >= size[:, None]] = Vocabulary.PAD
        places = ordered(layout.lengths(sentences), longest, self.task.order)
        words = self.dictionary[np.take_along_axis(sentences, places, axis=1)]
        words = words if self.task.fertility else words[:, :, :1]
        answers = layout.behind(together(words.reshape(count, -1)), np.full((count, 1), Vocabulary.END))
        return layout.beside_source(sentences, answers)

    def with_evidence(self, example: Example) -> Example:
        """The word that each word translates."""
        source = np.array(example.source)
        places = ordered(np.array([len(source)]), len(source), self.task.order)[0]
        fertile = np.count_nonzero(self.dictionary[source[places]], axis=1)
        found = np.eye(len(source), dtype=bool)[np.repeat(places, fertile)]
        return dataclasses.replace(example, evidence=np.pad(found, ((0, 1), (0, 0))))


def ordered(sizes: np.ndarray, width: int, order: str) -> np.ndarray:
    """`[rows, width]`: which of the `sizes [rows]` words of a sentence comes at each place, then padding.

    >>> ordered(np.array([3, 4]), 4, "reversed").tolist(), ordered(np.array([3, 4]), 4, "swapped").tolist()
    ([[2, 1, 0, 3], [3, 2, 1, 0]], [[1, 0, 2, 3], [1, 0, 3, 2]])
    """
    places = np.broadcast_to(np.arange(width), (len(sizes), width))
    if order == "same":
        return places
    moved = sizes[:, None] - 1 - places if order == "reversed" else places ^ 1
    return np.where((places < sizes[:, None]) & (moved < sizes[:, None]), moved, places)


def together(ids: np.ndarray) -> np.ndarray:
    """Each row without the padding between its tokens, padded behind.

    >>> together(np.array([[5, 0, 6, 0]])).tolist()
    [[5, 6, 0, 0]]
    """
    return np.take_along_axis(ids, np.argsort(ids == Vocabulary.PAD, axis=1, kind="stable"), axis=1)
