"""Memorization: values of keys that are the same in all sequences, so that weights must hold them."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge

from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)
DICTIONARY = 11


@options
class Memorization(Task):
    """Random keys, each followed by `?`, at which its value is asked for. The sequence does not tell it.

    Every key has a value of its own, drawn once from `dictionary_seed`. Mixers are compared by how much of
    the dictionary is learned in a given number of steps; feed-forward parts do most of it.

    >>> example, = Memorization(keys=4, length=6).load().examples("valid", 1)
    >>> example.prompt
    'k0 ? k3 ? k3 ?'
    >>> example.answer
    'v1'

    Attributes:
        keys: keys, and values.
        length: tokens of a sequence, two for each key.
        dictionary_seed: which dictionary; the training seed does not change it.
        held_out: sequences of the split.

    Source: Poli et al. 2024, arXiv 2403.17844, appendix, and the authors' code (memorization of MAD).
    """

    keys: Annotated[int, Ge(2)] = 127
    length: Annotated[int, Ge(2)] = 32
    dictionary_seed: Annotated[int, Ge(0)] = 0
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "MemorizationDataset":
        """Sequences without end."""
        return MemorizationDataset(self)


class MemorizationDataset(Generated):
    """Keys and questions. The evidence of an answer is its key."""

    read_back = False

    def __init__(self, task: Memorization) -> None:
        self.task = task
        self.ask = FIRST + 2 * task.keys
        names = (f"{kind}{n}" for kind in "kv" for n in range(task.keys))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *names, "?"), " ")
        self.dictionary = FIRST + task.keys + Stream(DICTIONARY, task.dictionary_seed).orders(1, task.keys)[0]
        super().__init__(task, splits=("valid",), size=task.held_out)
        chance = 1 / task.keys
        self.floors = {"loss": float(np.log(task.keys)), "token_accuracy": chance, "exact_match": chance}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences of random keys."""
        keys = stream.below(self.task.keys, count, self.task.length // 2)
        tokens = np.stack([FIRST + keys, np.full_like(keys, self.ask)], axis=2)
        labels = np.stack([np.zeros_like(keys), self.dictionary[keys]], axis=2)
        return layout.at_places(tokens.reshape(count, -1), labels.reshape(count, -1))

    def with_evidence(self, example: Example) -> Example:
        """The key before the last question."""
        found = np.arange(len(example.inputs)) == len(example.inputs) - 2
        return dataclasses.replace(example, evidence=found[None])
