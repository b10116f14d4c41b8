"""Sentiment: the opinion of a review on one thing among others."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, MultipleOf

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.classes import by_class
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

ASPECTS = ("food", "service", "price", "room", "staff", "view", "bed", "bath")
GOOD = ("good", "great", "fine", "lovely", "superb", "decent")
BAD = ("bad", "awful", "poor", "dirty", "dreadful", "shabby")
VERBS = ("was", "not")
FILLING = "we went there last week with two friends and came by train on a rainy day in early may"
FILLER = tuple(FILLING.split())
CLASSES = ("negative", "positive")
WORDS = (*ASPECTS, *VERBS, *GOOD, *BAD, *FILLER)
FIRST = len(Vocabulary.SPECIAL)
NEGATIVE, POSITIVE = FIRST, FIRST + 1
NOT = FIRST + WORDS.index("not")
OPINION = FIRST + WORDS.index(GOOD[0])
WORSE = FIRST + WORDS.index(BAD[0])
REST = FIRST + WORDS.index(FILLER[0])
TOKENS_A_TRIPLE = 16


@options
class Sentiment(Task):
    """Tell whether a text says good or bad things of one aspect.

    Among filler words stand triples: an aspect, *was* or *not*, and an opinion, one triple for every 16
    tokens. Exactly one is of the target; the label is its opinion, turned over by *not*. Aspects and
    opinions of all triples are drawn evenly and independently, and `negated` of the verbs are *not*. The
    words of a text without their places say little: the floor is the better of two ways to count them.

    With `target = "fixed"` the question is always about food; with `"asked"` the first token names the
    aspect. Each entry `n` of `lengths` adds a split `length<n>` of texts of `n` tokens.

    >>> example, = Sentiment(length=16, lengths=()).load().examples("valid", 1)
    >>> [example.prompt.split()[place] for place in np.flatnonzero(example.evidence)], example.answer
    (['food', 'was', 'fine'], 'positive')

    Attributes:
        target: which aspect is asked for.
        negated: share of the triples with *not*; with 0.5, opinions and *not* each say nothing alone.
        length: tokens of a training text.
        lengths: lengths of the extrapolation splits.
        held_out: texts of each split.
    """

    target: Literal["fixed", "asked"] = "fixed"
    negated: Annotated[float, Ge(0.0), Le(0.5)] = 0.3
    length: Annotated[int, Ge(16), MultipleOf(16)] = 64
    lengths: tuple[int, ...] = (128, 256)
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "SentimentDataset":
        """Texts without end. Raises `ConfigError` for lengths that are no multiples of 16."""
        if any(n < TOKENS_A_TRIPLE or n % TOKENS_A_TRIPLE for n in self.lengths):
            raise ConfigError(f"lengths = {list(self.lengths)}: expected multiples of {TOKENS_A_TRIPLE}")
        if len(set(self.lengths)) < len(self.lengths):
            raise ConfigError(f"lengths = {list(self.lengths)}: expected different numbers")
        return SentimentDataset(self)


class SentimentDataset(Generated):
    """Texts with triples. The evidence is the triple about the target."""

    def __init__(self, task: Sentiment) -> None:
        self.task = task
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *CLASSES))
        self.source_vocabulary = Vocabulary((*Vocabulary.SPECIAL, *WORDS), joiner=" ")
        self.lengths = {f"length{n}": n for n in task.lengths}
        longer = [split for split, n in self.lengths.items() if n > task.length]
        super().__init__(task, splits=("valid", "test", *self.lengths), size=task.held_out, longer=longer)
        valid = self.held_out["valid"]
        right = max(float(np.mean(said == valid["labels"][:, 0])) for said in by_counts(valid["source"]))
        better = {name: max(self.floors[name], right) for name in ("token_accuracy", "exact_match")}
        self.floors = {**self.floors, **better}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Texts of the length that `split` says."""
        length = self.lengths.get(split, self.task.length)
        asked = self.task.target == "asked"
        triples = length // TOKENS_A_TRIPLE
        fillers = length - asked - 3 * triples
        target = stream.below(len(ASPECTS), count) if asked else np.zeros(count, np.int64)
        # Aspects other than the target are drawn as distances from it, which are never 0.
        distance = 1 + stream.below(len(ASPECTS) - 1, count, triples)
        distance[:, 0] = 0
        aspect = FIRST + (target[:, None] + distance) % len(ASPECTS)
        verb = NOT - 1 + (stream.uniform(count, triples) < self.task.negated)
        opinion = OPINION + stream.below(len(GOOD) + len(BAD), count, triples)
        words = REST + stream.below(len(FILLER), count, fillers)
        items = np.concatenate(
            [np.stack([aspect, verb, opinion], axis=2), np.pad(words[..., None], ((0, 0), (0, 0), (0, 2)))],
            axis=1,
        )
        order = stream.orders(count, triples + fillers)
        text = np.take_along_axis(items, order[..., None], axis=1).reshape(count, -1)
        text = text[text != Vocabulary.PAD].reshape(count, length - asked)
        if asked:
            text = np.concatenate([FIRST + target[:, None], text], axis=1)
        good = (opinion[:, 0] < WORSE) != (verb[:, 0] == NOT)
        return layout.classified(text, np.where(good, POSITIVE, NEGATIVE))

    def with_evidence(self, example: Example) -> Example:
        """The three places of the triple about the target."""
        text = np.array(example.source)
        asked = self.task.target == "asked"
        place = asked + int(np.flatnonzero(text[asked:] == (text[0] if asked else FIRST))[0])
        evidence = np.zeros((1, len(text)), bool)
        evidence[0, place : place + 3] = True
        return dataclasses.replace(example, evidence=evidence)

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match` and `macro_f1`."""
        return by_class([example.answer for example in examples], predictions)


def by_counts(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[texts]` classes for who counts words: more good than bad; the same turned over if most are *not*."""
    good = ((texts >= OPINION) & (texts < WORSE)).sum(axis=1)
    bad = ((texts >= WORSE) & (texts < REST)).sum(axis=1)
    plain = (texts == NOT - 1).sum(axis=1) - (texts == NOT).sum(axis=1)
    sides = good - bad, (good - bad) * plain
    return tuple(np.where(side > 0, POSITIVE, NEGATIVE) for side in sides)  # type: ignore[return-value]
