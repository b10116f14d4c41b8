"""Linear probes: what can be read from a point by a linear map, beside a control."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from attnkit.errors import DataError


class Probe(NamedTuple):
    """A linear probe.

    Attributes:
        accuracy: on vectors that it was not fitted to.
        control: the same for labels drawn at random for each kind of item: what the probe can memorize.
        chance: share of the most frequent label.
        weights: `[dim + 1, labels]`, the last row the bias.
    """

    accuracy: float
    control: float
    chance: float
    weights: np.ndarray

    @property
    def selectivity(self) -> float:
        """`accuracy - control`."""
        return self.accuracy - self.control


def linear_probe(
    vectors: Float[np.ndarray, "items dim"],
    labels: Int[np.ndarray, "items"],
    kinds: Int[np.ndarray, "items"],
    *,
    ridge: float = 1e-2,
    held_out: float = 0.3,
    seed: int = 0,
) -> Probe:
    """Least squares from vectors to one-hot labels, with a ridge, fitted to some and tested on the others.

    Args:
        vectors: values of a point, one row an item.
        labels: what is to be read.
        kinds: of each item, such as its token: the control gives every kind a random label.
        ridge: penalty of the squared weights, as a share of the vectors' mean square.
        held_out: share of the items that it is tested on.
        seed: of the split and of the control.

    Raises:
        DataError: if the rows do not belong together, or are fewer than 4.

    Source: Alain & Bengio 2016, arXiv 1610.01644; control and selectivity Hewitt & Liang 2019,
    arXiv 1909.03368.
    """
    x, y, kinds = np.asarray(vectors, np.float64), np.asarray(labels), np.asarray(kinds)
    if not len(x) == len(y) == len(kinds) or len(x) < 4:
        raise DataError(
            f"vectors {x.shape}, labels {y.shape}, kinds {kinds.shape}: expected 4 or more of each"
        )
    random = np.random.default_rng(seed)
    order = random.permutation(len(x))
    test, train = np.split(order, [max(1, round(held_out * len(x)))])
    y = np.unique(y, return_inverse=True)[1]
    kind = np.unique(kinds, return_inverse=True)[1]
    classes = int(y.max()) + 1
    control = random.integers(classes, size=kind.max() + 1)[kind]
    weights = fitted(x[train], y[train], classes, ridge)
    other = fitted(x[train], control[train], classes, ridge)
    return Probe(
        accuracy(weights, x[test], y[test]),
        accuracy(other, x[test], control[test]),
        float(np.bincount(y[test]).max() / len(test)),
        weights,
    )


def fitted(x: np.ndarray, y: np.ndarray, labels: int, ridge: float) -> np.ndarray:
    """The weights of least squares with a ridge."""
    wide = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    gram = wide.T @ wide
    gram += ridge * len(x) * np.mean(np.square(x)) * np.diag([1.0] * x.shape[1] + [1e-9])
    return np.linalg.solve(gram, wide.T @ np.eye(labels)[y])


def accuracy(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Share of the rows whose largest output is the label."""
    return float(np.mean((x @ weights[:-1] + weights[-1]).argmax(axis=1) == y))
