"""Needle in a haystack, and variables that name variables."""

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
class Needle(Task):
    """A value that stands once in a long text of other words, asked for by its name at the end.

    `chains` chains of assignments stand in random places of a text of filler words: `x3 = v7` gives a value,
    and with `hops` above 1 `x5 = x3` gives another variable the value of one before. The last variable of one
    chain is asked for; its answer is the value at the chain's beginning. With one hop that is a needle in a
    haystack with `chains - 1` distractors, with more it is variable tracking.

    >>> task = Needle(chains=1, hops=2, length=12, lengths=(), variables=8, values=4, fillers=3)
    >>> example, = task.load().examples("valid", 1)
    >>> example.prompt, example.answer
    ('x1 = v2 b x3 = x1 a a a x3 ?', 'v2')

    Attributes:
        chains: chains in a text.
        hops: assignments of a chain.
        variables: names that a text may use, each at most once.
        values: different values.
        fillers: different filler words.
        length: tokens of a training text.
        lengths: tokens of the texts of the splits `length<n>`.
        held_out: texts of each split.

    Source: Hsieh et al. 2024 (RULER), arXiv 2404.06654, NIAH and variable tracking, in synthetic words.
    """

    chains: Annotated[int, Ge(1)] = 4
    hops: Annotated[int, Ge(1)] = 1
    variables: Annotated[int, Ge(1)] = 64
    values: Annotated[int, Ge(2)] = 32
    fillers: Annotated[int, Ge(1), Le(26)] = 26
    length: Annotated[int, Ge(6)] = 256
    lengths: tuple[int, ...] = (1024, 4096)
    held_out: Annotated[int, Ge(1)] = 128

    def load(self) -> "NeedleDataset":
        """Texts without end. Raises `ConfigError` for sizes that do not fit together."""
        needed = self.chains * self.hops
        if needed > self.variables:
            raise ConfigError(
                f"variables = {self.variables}: expected at least {needed}, one for each of {self.chains} "
                f"chains of {self.hops} hops"
            )
        for length in (self.length, *self.lengths):
            if length < 3 * needed + 2:
                raise ConfigError(
                    f"length = {length}: expected at least {3 * needed + 2}, room for {needed} assignments"
                )
        return NeedleDataset(self)


class NeedleDataset(Generated):
    """Texts. The evidence of an answer is every assignment of its chain."""

    read_back = False

    def __init__(self, task: Needle) -> None:
        self.task = task
        self.value, self.filler = FIRST + task.variables, FIRST + task.variables + task.values
        self.equals, self.asks = self.filler + task.fillers, self.filler + task.fillers + 1
        names = [f"x{n}" for n in range(task.variables)] + [f"v{n}" for n in range(task.values)]
        words = [chr(ord("a") + n) for n in range(task.fillers)]
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *names, *words, "=", "?"), " ")
        self.lengths = {f"length{length}": length for length in task.lengths}
        super().__init__(
            task, splits=("valid", *self.lengths), size=task.held_out, longer=tuple(self.lengths)
        )
        chance = 1 / min(task.chains, task.values)
        self.floors = {"loss": -float(np.log(chance)), "token_accuracy": chance, "exact_match": chance}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Texts of the length that `split` has."""
        task, length = self.task, self.lengths.get(split, self.task.length)
        chains, hops = task.chains, task.hops
        names = FIRST + stream.orders(count, task.variables)[:, : chains * hops].reshape(count, chains, hops)
        values = self.value + stream.below(task.values, count, chains)
        given = np.concatenate([values[:, :, None], names[:, :, :-1]], axis=2)
        assigned = np.stack([names, np.full_like(names, self.equals), given], axis=3)
        # Chains are mixed at random, hops stay in order.
        chain = stream.orders(count, chains * hops) % chains
        order = np.argsort(chain, axis=1, kind="stable")
        hop = np.empty_like(chain)
        np.put_along_axis(hop, order, np.tile(np.arange(hops), (count, chains)), axis=1)
        mixed = assigned[np.arange(count)[:, None], chain, hop]
        # Where assignments begin: sorted places among fillers and assignments counted as one token each.
        spare = length - 2 - 2 * chains * hops
        at = np.sort(stream.orders(count, spare)[:, : chains * hops], axis=1) + 2 * np.arange(chains * hops)
        tokens = self.filler + stream.below(task.fillers, count, length)
        for part in range(3):
            np.put_along_axis(tokens, at + part, mixed[:, :, part], axis=1)
        asked = stream.below(chains, count)
        rows = np.arange(count)
        tokens[:, -2], tokens[:, -1] = names[rows, asked, -1], self.asks
        labels = np.zeros_like(tokens)
        labels[:, -1] = values[rows, asked]
        return layout.at_places(tokens, labels)

    def with_evidence(self, example: Example) -> Example:
        """The assignments of the chain, from the one that is asked for to the value."""
        read, found = list(example.inputs), np.zeros((1, len(example.inputs)), bool)
        name = read[-2]
        while name < self.value:
            place = next(n for n in range(1, len(read) - 1) if read[n] == name and read[n + 1] == self.equals)
            found[0, place + 2] = True
            name = read[place + 2]
        return dataclasses.replace(example, evidence=found)
