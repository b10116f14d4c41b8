"""What a model is: the contract that every file beside this one keeps."""

import abc
import dataclasses
from typing import Any

import jax
from flax import nnx

Batch = dict[str, jax.Array]
Maps = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a model must know of its task: vocabulary sizes and longest lengths, in tokens."""

    vocabulary: int
    length: int
    source_vocabulary: int = 0
    source_length: int = 0


class Network(nnx.Module):
    """A whole network. Pure in its inputs: the only state is its parameters."""

    @abc.abstractmethod
    def __call__(
        self, batch: Batch, *, key: jax.Array | None = None, look: bool = False
    ) -> tuple[jax.Array, Maps]:
        """Logits `[batch, length, vocabulary]` for `batch["inputs"]`, and attention maps.

        Args:
            batch: arrays named as in docs/architecture.md.
            key: random key for dropout; `None` switches dropout off.
            look: whether to return attention weights, by name, each `[batch, heads, queries, keys]`.
                Looking does not change the logits.
        """

    @abc.abstractmethod
    def start(self, batch: Batch, length: int) -> Any:
        """Decoding state with room for `length` tokens; encodes `batch["source"]` if there is one."""

    @abc.abstractmethod
    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        """Logits `[batch, new, vocabulary]` for `tokens [batch, new]` that continue `state`; the next state.

        Every leaf of `state` has a leading batch axis, so that beam search can reorder it.
        """


class Model(abc.ABC):
    """Options of one model."""

    @abc.abstractmethod
    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> Network:
        """The network with fresh parameters."""
