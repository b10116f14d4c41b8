"""Hops along a permutation: the k-th successor, without a chain of thought."""

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
class PermutationHops(Task):
    """Edges of one cycle through `nodes` nodes, in random order; then questions for successors.

    A question is a number of hops `+k` and a node; what stands k edges behind the node is the answer, read
    back before the next question. The hops must be made inside the network: the deeper it is, the larger k
    can be.

    >>> task = PermutationHops(nodes=4, names=9, hops=2, questions=2)
    >>> example, = task.load().examples("valid", 1)
    >>> example.prompt, example.answer
    ('7 1 1 8 3 7 8 3 +2 1 3 +2 3', '1')

    Attributes:
        nodes: nodes of a cycle.
        names: names of nodes.
        hops: largest k of training; the splits `hops<k>` ask for one k each.
        questions: questions of a sequence.
        held_out: sequences of each split.

    Source: Allen-Zhu 2025, arXiv 2512.17351 (task Depo), with names of one token and cycles of one size.
    """

    nodes: Annotated[int, Ge(2)] = 12
    names: Annotated[int, Ge(2)] = 24
    hops: Annotated[int, Ge(1), Le(64)] = 4
    questions: Annotated[int, Ge(1)] = 8
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "PermutationHopsDataset":
        """Sequences without end. Raises `ConfigError` for sizes that do not fit together."""
        if self.names < self.nodes:
            raise ConfigError(f"names = {self.names}: expected at least {self.nodes}, the nodes of a cycle")
        if self.hops >= self.nodes:
            raise ConfigError(f"hops = {self.hops}: expected less than nodes = {self.nodes}")
        return PermutationHopsDataset(self)


class PermutationHopsDataset(Generated):
    """Edges and questions. The evidence of an answer is the second node of every edge on the way."""

    read_back = False

    def __init__(self, task: PermutationHops) -> None:
        self.task = task
        self.hop = FIRST + task.names
        names = (*map(str, range(task.names)), *(f"+{k}" for k in range(1, task.hops + 1)))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *names), " ")
        self.asked = {f"hops{k}": k for k in range(1, task.hops + 1)}
        super().__init__(task, splits=("valid", *self.asked), size=task.held_out)
        # One of the nodes but the one that is asked about.
        chance = 1 / (task.nodes - 1)
        self.floors = {"loss": -float(np.log(chance)), "token_accuracy": chance, "exact_match": chance}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences with the hops that `split` has."""
        task = self.task
        cycle = FIRST + stream.orders(count, task.names)[:, : task.nodes]
        edges = np.stack([cycle, np.roll(cycle, -1, axis=1)], axis=2)
        order = stream.orders(count, task.nodes)
        edges = np.take_along_axis(edges, order[:, :, None], axis=1).reshape(count, -1)
        hops = stream.between(1, task.hops, count, task.questions)
        hops = np.full_like(hops, self.asked[split]) if split in self.asked else hops
        at = stream.below(task.nodes, count, task.questions)
        start, end = (np.take_along_axis(cycle, (at + by) % task.nodes, axis=1) for by in (0, hops))
        questions = np.stack([self.hop - 1 + hops, start, end], axis=2).reshape(count, -1)
        labels = np.zeros_like(questions)
        labels[:, 1::3] = end
        tokens = np.concatenate([edges, questions], axis=1)
        labels = np.pad(labels, ((0, 0), (edges.shape[1], 0)))
        return layout.at_places(tokens[:, :-1], labels[:, :-1])  # the last answer is not read

    def with_evidence(self, example: Example) -> Example:
        """The second nodes of the edges on the way of the last question."""
        read = list(example.inputs)
        behind = {read[n]: n + 1 for n in range(1, 2 * self.task.nodes, 2)}
        node, found = read[-1], np.zeros((1, len(read)), bool)
        for _ in range(read[-2] - self.hop + 1):
            place = behind[node]
            found[0, place] = True
            node = read[place]
        return dataclasses.replace(example, evidence=found)
