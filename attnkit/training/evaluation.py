"""Loss, perplexity and accuracy on a held-out split, whole and by position."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from attnkit.models.contract import Batch
from attnkit.tasks.contract import Dataset
from attnkit.training.batches import check_ids
from attnkit.training.devices import cores
from attnkit.training.objective import errors
from attnkit.training.step import Params, cache_slices, cast, longest, split


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy of a network on a split.

    Attributes:
        split: the split's name.
        tokens: tokens that count (their summed weights) by position in the sequence, `[length]`.
        losses: their summed negative log-likelihood in nats, or squared error of numbers, `[length]`.
        hits: how many of them the network ranks first, `[length]`; 0 for numbers.
    """

    split: str
    tokens: np.ndarray
    losses: np.ndarray
    hits: np.ndarray

    @property
    def loss(self) -> float:
        """Mean loss of a token; NaN if no token counts."""
        return _mean(self.losses.sum(), self.tokens.sum()).item()

    @property
    def perplexity(self) -> float:
        """`exp(loss)`; infinite where that overflows."""
        return float(_exp(np.asarray(self.loss)))

    @property
    def accuracy(self) -> float:
        """Part of the tokens that the network ranks first."""
        return _mean(self.hits.sum(), self.tokens.sum()).item()

    @property
    def loss_by_position(self) -> np.ndarray:
        """Mean loss at each position `[length]`; NaN where no token counts."""
        return _mean(self.losses, self.tokens)

    @property
    def perplexity_by_position(self) -> np.ndarray:
        """Perplexity at each position `[length]`; NaN where no token counts."""
        return _exp(self.loss_by_position)

    @property
    def accuracy_by_position(self) -> np.ndarray:
        """Accuracy at each position `[length]`; NaN where no token counts."""
        return _mean(self.hits, self.tokens)


class Counts(NamedTuple):
    """Sums over the sequences of a batch, by position."""

    tokens: Float[Array, " length"]
    losses: Float[Array, " length"]
    hits: Float[Array, " length"]


Count = Callable[[Params, Any, Batch], Counts]


class Stopped(Exception):
    """An evaluation was given up half-way, so there is no result."""


@functools.lru_cache(maxsize=16)
def make_count(graph: nnx.GraphDef, precision: str) -> Count:
    """The jitted `(params, constants, batch) -> Counts`; one trace for each shape of batch.

    On CPUs a batch is cut into slices, as in training, but for all cores together: what a whole batch
    computes may take gigabytes, which the system clears page by page at every call.
    """

    def some(params: Params, constants: Any, batch: Batch) -> Counts:
        output = nnx.merge(graph, cast(params, precision), constants)(batch)
        weights = batch["weights"].astype(jnp.float32)
        loss = errors(output, batch).loss
        hit = jnp.argmax(output.logits, axis=-1) == batch["labels"] if "labels" in batch else 0 * loss
        return Counts(*(jnp.sum(weights * x, axis=0) for x in (jnp.ones_like(loss), loss, hit)))

    def count(params: Params, constants: Any, batch: Batch) -> Counts:
        size = batch["weights"].shape[0]
        slices = cache_slices(size, size * longest(batch), cores())
        if slices == 1:
            return some(params, constants, batch)
        pieces = jax.tree.map(lambda x: x.reshape(slices, size // slices, *x.shape[1:]), batch)
        counts = jax.lax.map(lambda piece: some(params, constants, piece), pieces)
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), counts)

    return jax.jit(count)


def run(
    count: Count,
    params: Params,
    constants: Any,
    dataset: Dataset,
    split: str,
    batch_size: int,
    batches: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Evaluate `params` on the first `batches` batches of `split`, or on all of them if 0.

    Raises:
        DataError: a batch holds an id outside its vocabulary.
        Stopped: `stop()` became true before the last batch.
    """
    chosen: Iterable[Any] = dataset.evaluation(split, batch_size)
    counted = []
    for batch in itertools.islice(chosen, batches or None):
        if stop():
            raise Stopped
        check_ids(batch, dataset, f"split {split!r}")
        counted.append(count(params, constants, batch))
    if stop():
        raise Stopped
    # Sums of many batches in float64: a float32 sum of a million tokens is off in the fifth digit.
    total = [
        np.sum(np.stack([np.asarray(x, np.float64) for x in xs]), axis=0) for xs in zip(*counted, strict=True)
    ]
    return Evaluation(split, *(total or [np.zeros(dataset.length)] * 3))


def evaluate(
    network: nnx.Module, dataset: Dataset, split_name: str, batch_size: int = 64, precision: str = "float32"
) -> Evaluation:
    """Evaluate `network` on every example of the split. Raises `DataError` for ids outside the vocabulary."""
    graph, params, constants = split(network)
    return run(make_count(graph, precision), params, constants, dataset, split_name, batch_size)


def _mean(total: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return np.divide(
        total, tokens, out=np.full_like(total, np.nan, dtype=np.float64), where=np.asarray(tokens) > 0
    )


def _exp(loss: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(loss)
