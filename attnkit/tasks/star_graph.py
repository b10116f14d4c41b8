"""Star graph: the path from the center to the end of one arm. A control that no token mixer should fix."""

import dataclasses
import math
from typing import Annotated

import numpy as np
from annotated_types import Ge

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)


@options
class StarGraph(Task):
    """Edges of a star with `arms` arms of `steps` edges, in random order; then its center and one end.

    The path from the center to that end is to be written. Every token of it but the first follows from the
    one before by one edge; the first needs the path backwards from the end. Trained to predict the next token
    with the right path before it, networks learn to follow edges and guess the first step: 1 / `arms`.

    >>> example, = StarGraph(arms=2, steps=2, nodes=9).load().examples("valid", 1)
    >>> example.prompt
    '7 > 2 1 > 8 1 > 7 8 > 3 1 2 ='
    >>> example.answer
    '1 7 2'

    Attributes:
        arms: how many arms there are.
        steps: edges of an arm.
        nodes: names of nodes.
        held_out: graphs of the split.

    Source: Bachmann & Nagarajan 2024, arXiv 2403.06963, section 4.
    """

    arms: Annotated[int, Ge(2)] = 5
    steps: Annotated[int, Ge(2)] = 5
    nodes: Annotated[int, Ge(5)] = 50
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "StarGraphDataset":
        """Graphs without end. Raises `ConfigError` if there are too few names."""
        needed = 1 + self.arms * self.steps
        if self.nodes < needed:
            raise ConfigError(f"nodes = {self.nodes}: expected at least {needed} for {self.arms} arms")
        return StarGraphDataset(self)


class StarGraphDataset(Generated):
    """Graphs. An edge is three tokens: two nodes and `>` between them."""

    def __init__(self, task: StarGraph) -> None:
        self.task = task
        self.to = FIRST + task.nodes
        self.separator = self.to + 1
        names = [str(n) for n in range(task.nodes)]
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *names, ">", "="), " ")
        super().__init__(task, splits=("valid",), size=task.held_out)
        # Guessing the arm and following its edges.
        chance = 1 / task.arms
        guessed = 1 / (task.steps + 2)  # one of the tokens of a path is a guess
        self.floors = {
            "loss": math.log(task.arms) * guessed,
            "token_accuracy": 1 - guessed * (1 - chance),
            "exact_match": chance,
        }

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Graphs; the answer is the path, with the center it begins at."""
        task = self.task
        nodes = FIRST + stream.orders(count, task.nodes)[:, : 1 + task.arms * task.steps]
        arms = nodes[:, 1:].reshape(count, task.arms, task.steps)
        center = np.broadcast_to(nodes[:, :1, None], (count, task.arms, 1))
        paths = np.concatenate([center, arms], axis=2)
        edges = np.stack([paths[:, :, :-1], np.full_like(arms, self.to), arms], axis=3)
        edges = edges.reshape(count, task.arms * task.steps, 3)
        order = stream.orders(count, task.arms * task.steps)
        edges = np.take_along_axis(edges, order[:, :, None], axis=1).reshape(count, -1)
        path = paths[np.arange(count), stream.below(task.arms, count)]
        ends = np.stack([path[:, 0], path[:, -1], np.full(count, self.separator)], axis=1)
        end = np.full((count, 1), Vocabulary.END)
        return layout.after_prompt(np.concatenate([edges, ends], axis=1), np.concatenate([path, end], axis=1))

    def with_evidence(self, example: Example) -> Example:
        """For each token of the path the edge that leads to it; for the first two, the whole arm."""
        read, path = np.array(example.inputs), example.labels
        found = np.zeros((len(path), len(read)), bool)
        edges = 3 * self.task.arms * self.task.steps
        arrivals = {int(read[place]): place for place in range(3, edges + 1, 3)}
        for row, node in enumerate(path[1:-1], 1):
            found[row, arrivals[node]] = True
        found[1] = found[1:].any(axis=0)
        found[0, edges + 1] = True
        return dataclasses.replace(example, evidence=found)
