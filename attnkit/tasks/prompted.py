"""Any task of sources and answers as a task for a decoder: source, `=` and answer in one row."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Dataset, Example, Vocabulary

FIRST = len(Vocabulary.SPECIAL)


class Prompted(Dataset):
    """A data set with an encoder's source, read by a decoder instead.

    The tokens of the source come first in the vocabulary, then those of the answer, then `=`.
    """

    def __init__(self, pairs: Dataset) -> None:
        source = pairs.source_vocabulary
        if source is None:
            raise ValueError("pairs: expected a data set with a source of tokens")
        self.pairs, self.task = pairs, pairs.task
        self.shift = len(source) - FIRST
        self.separator: int = self.shift + len(pairs.vocabulary)
        words = (*source.tokens, *pairs.vocabulary.tokens[FIRST:], "=")
        self.vocabulary = Vocabulary(words, pairs.vocabulary.joiner)
        self.length = pairs.source_length + 1 + pairs.length
        self.splits, self.fingerprint, self.facts = pairs.splits, pairs.fingerprint, pairs.facts
        self.floors, self.ceilings = pairs.floors, pairs.ceilings
        self.metric_units = pairs.metric_units

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Training batch `step` of the pairs, joined."""
        return self._joined(self.pairs.batch_rows(seed, step, size, rows))

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Every pair of `split` once, joined."""
        return map(self._joined, self.pairs.evaluation(split, size))

    def examples(self, split: str, count: int) -> list[Example]:
        """The examples of the pairs, with the source as the prompt."""
        return list(map(self._example, self.pairs.examples(split, count)))

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """The metrics of the pairs."""
        return self.pairs.score(examples, predictions)

    def _joined(self, batch: Batch) -> Batch:
        ends = np.full((len(batch["source"]), 1), self.separator, np.int32)
        labels = batch["labels"]
        answers = np.where(labels < FIRST, labels, labels + self.shift)
        found = layout.after_prompt(layout.behind(batch["source"], ends), answers)
        found["weights"] *= batch["weights"].any(axis=1, keepdims=True)
        return found

    def _example(self, example: Example) -> Example:
        labels = tuple(token if token < FIRST else token + self.shift for token in example.labels)
        evidence = None if example.evidence is None else np.pad(example.evidence, ((0, 0), (1, 1)))
        inputs = (Vocabulary.BEGIN, *(example.source or ()), self.separator)
        return dataclasses.replace(example, source=None, inputs=inputs, labels=labels, evidence=evidence)
