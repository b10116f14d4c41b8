"""The contract of models: options that build a network, and the network."""

import abc
import dataclasses
import fnmatch
import functools
from typing import Any, ClassVar, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.contract import token_maps
from attnkit.points import notes, observe

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a task that a model is built for.

    Attributes:
        vocabulary: how many tokens, or classes, there are to predict; 0 where numbers are predicted.
        length: most places to predict at, in tokens.
        source_vocabulary: tokens that an encoder reads; 0 without an encoder, or if it reads vectors.
        source_length: most source tokens; 0 without an encoder.
        features: width of the vectors that a decoder reads instead of tokens; 0 for tokens.
        source_features: the same for an encoder.
        segments: most sentences or turns of a source; 0 where it has none.
        grid: rows and columns of patches of a picture, if the source is one.
    """

    vocabulary: int
    length: int
    source_vocabulary: int = 0
    source_length: int = 0
    features: int = 0
    source_features: int = 0
    segments: int = 0
    grid: tuple[int, int] | None = None


class Output(NamedTuple):
    """The output of a network.

    Attributes:
        logits: `[batch, length, vocabulary]`, or `[batch, length, 1]` predictions of numbers.
        penalty: `[batch]`, added to the objective of each example, or 0.
    """

    logits: Float[Array, "batch length vocabulary"]
    penalty: Float[Array, "*batch"] | float = 0.0


class Network(nnx.Module):
    """A whole network. Pure in its inputs: the only state is its parameters.

    Attributes:
        maps: patterns of the points (`attnkit.points`) that hold attention weights between tokens.
    """

    maps: ClassVar[tuple[str, ...]] = (
        "encoder.*.self.weights",
        "decoder.*.self.weights",
        "decoder.*.cross.weights",
        "document.pool.weights",
    )

    @abc.abstractmethod
    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        """Logits for every place to predict at.

        Args:
            batch: arrays named as in docs/architecture.md.
            key: random key for dropout; `None` switches dropout off. `example_keys(batch, key)` are the
                keys from which the layers draw the numbers of each example.
        """

    @abc.abstractmethod
    def start(self, batch: Batch, length: int) -> Any:
        """Decoding state with room for `length` tokens; encodes `batch["source"]` if there is one.

        Raises `ValueError` if the network has no positions for so many.
        """

    @abc.abstractmethod
    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        """Logits `[batch, new, vocabulary]` for `tokens [batch, new]` that continue `state`; the next state.

        A classifier's answer does not depend on `tokens`.

        Every leaf of `state` has a leading batch axis, so that beam search can reorder it.
        """


def example_keys(batch: Batch, key: jax.Array | None) -> jax.Array | None:
    """`batch["example_key"]`, one key for each example; `key` itself if there are none; `None` for `None`.

    A training step gives every example a key that depends on the seed, the step and its place in the whole
    batch, so that no random number depends on how the batch is cut or spread over devices.
    """
    return None if key is None else batch.get("example_key", key)


def attention_maps(network: Network, batch: Batch, *, key: jax.Array | None = None) -> dict[str, jax.Array]:
    """Attention weights between tokens by name, each `[batch, heads, queries, keys]`.

    Where a layer's weights are not between tokens, its point `map` is read instead of `weights`. The name is
    that of the point without its last part: `decoder.1.cross`. Names that begin with `encoder.`
    have queries and keys of the source; those that end in `.cross` or `.pool` have queries of the output and
    keys of the source; all others are of the decoder alone.
    """
    return token_maps(observe(network, read=functools.partial(shows, network))(batch, key=key).values)


def map_kinds(network: Network, batch: Batch) -> dict[str, str]:
    """The `MapKind` of every map of `attention_maps`, by the same names; nothing is computed."""
    found = notes(network, batch)[0]
    return token_maps({name: kind for name, kind in found.items() if shows(network, name)})


def shows(network: Network, name: str) -> bool:
    """Whether a point holds a map of the network, or stands for one that does not have weights of tokens."""
    path, _, last = name.rpartition(".")
    names = (name, f"{path}.weights") if last == "map" else (name,)
    return any(fnmatch.fnmatchcase(one, pattern) for one in names for pattern in network.maps)


class Model(abc.ABC):
    """Options of one model.

    `autoregressive` names the options whose token mixers decode, `cross_attention` those whose token mixers
    attend to a memory.
    """

    autoregressive: ClassVar[tuple[str, ...]] = ()
    cross_attention: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> Network:
        """The network with fresh parameters."""
