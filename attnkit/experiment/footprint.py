"""Sizes of a network: what it learns, what decoding carries, and what a token costs."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from attnkit.experiment.session import Session
from attnkit.forms.flops import count_flops
from attnkit.models.contract import Network
from attnkit.tasks.contract import Dataset
from attnkit.training.step import longest


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Sizes of a network on a task.

    Attributes:
        parameters: numbers that it learns.
        state_bytes: bytes that decoding carries for one sequence of the longest training length: caches and
            recurrent states; `None` of a network that does not decode,
            such as a classifier.
        flops_per_token: of one token of a training batch, read forward: operations of matrix products. A
            training step takes about three times as many.
    """

    parameters: int
    state_bytes: int | None
    flops_per_token: float


def footprint(session: Session) -> Footprint:
    """The sizes of a session's network; nothing is compiled."""
    dataset, network = session.data, session.network
    batch = shapes(dataset, session.training.seed)
    flops = count_flops(lambda batch: network(batch).logits, batch)
    return Footprint(parameters(network), state_bytes(network, batch), flops / longest(batch))


def shapes(dataset: Dataset, seed: int = 0) -> dict[str, Any]:
    """The shapes of one example of a training batch."""
    return {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in dataset.batch(seed, 0, 1).items()}


def parameters(network: Network) -> int:
    """How many numbers a network learns."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def state_bytes(network: Network, batch: Any) -> int | None:
    """Bytes of the decoding state of one sequence as long as `batch`; `None` without one."""
    length = batch["weights"].shape[1]
    if length == 1 or "input_length" in batch:
        return None
    try:
        state = jax.eval_shape(lambda batch: network.start(batch, length), batch)
    except (NotImplementedError, ValueError, KeyError, TypeError):
        return None
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
