"""In-context regression: a linear function is learned from the examples in the prompt."""

from typing import Annotated

import numpy as np
from annotated_types import Ge

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks.contract import Batch, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream


@options
class Regression(Task):
    """Predict y = w.x for one more x, from `points` pairs (x, y) of the same hidden w.

    A decoder reads x and y in turn, as vectors of `dim + 1` numbers: (x, 0), then (0, y). Both w and x are
    standard normal, w is drawn anew for every sequence. At each x its y is to be predicted, so a sequence
    asks for y after 0, 1, ... examples. The squared error is not divided by `dim`.

    After k examples the best guess is the smallest w that fits them (least squares). Its mean squared error
    is dim - k, and 0 from k = dim on: examples fix k directions of w and say nothing of the others. Saying
    0 costs dim. Each entry k of `after` adds a split in which only the prediction after k examples counts.

    >>> data = Regression(dim=2, points=3, after=(1,)).load()
    >>> [" ".join(f"{number:.1f}" for number in vector) for vector in data.batch(0, 0, 1)["features"][0]]
    ['-0.4 -0.7 0.0', '0.0 0.0 0.1', '-0.5 -0.7 0.0', '0.0 0.0 0.3', '-1.4 1.4 0.0', '0.0 0.0 2.9']
    >>> data.ceilings
    {'loss': 1.0, 'after1.loss': 1.0}

    Attributes:
        dim: width of x.
        points: pairs of a sequence.
        after: numbers of examples that have a split of their own.
        held_out: sequences of each split.

    Source: Garg et al. 2022, arXiv 2208.01066, section 3 (linear functions).
    """

    dim: Annotated[int, Ge(1)] = 5
    points: Annotated[int, Ge(1)] = 11
    after: tuple[int, ...] = (2, 4, 6, 10)
    held_out: Annotated[int, Ge(1)] = 1024

    def load(self) -> "RegressionDataset":
        """Sequences without end. Raises `ConfigError` for a number of examples that no sequence has."""
        if not set(self.after) <= set(range(self.points)):
            raise ConfigError(f"after = {list(self.after)}: expected numbers from 0 to {self.points - 1}")
        return RegressionDataset(self)


class RegressionDataset(Generated):
    """Points of linear functions, and the error of least squares."""

    vocabulary = Vocabulary(Vocabulary.SPECIAL)

    def __init__(self, task: Regression) -> None:
        self.task = task
        self.after = {f"after{count}": count for count in task.after}
        best = [float(max(0, task.dim - count)) for count in range(task.points)]
        super().__init__(
            task,
            splits=("valid", *self.after),
            size=task.held_out,
            facts={"least_squares_error_after_k_examples": best},
            ceilings={
                "loss": float(np.mean(best)),
                **{f"{split}.loss": best[count] for split, count in self.after.items()},
            },
        )
        self.floors = {"loss": float(task.dim)}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Points of one function in each row."""
        points, dim = self.task.points, self.task.dim
        x = stream.normal(count, points, dim)
        y = np.sum(x * stream.normal(count, 1, dim), axis=2)
        read = np.zeros((count, points, 2, dim + 1), np.float32)
        read[:, :, 0, :dim], read[:, :, 1, dim] = x, y
        targets, weights = np.zeros((2, count, points, 2), np.float32)
        targets[:, :, 0] = y
        weights[:, self.after[split] if split in self.after else slice(None), 0] = 1
        return {
            "features": read.reshape(count, 2 * points, dim + 1),
            "targets": targets.reshape(count, -1),
            "weights": weights.reshape(count, -1),
        }
