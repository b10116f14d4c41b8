"""The contract of token mixers as layers: a call over whole sequences, decoding state, and steps."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Float

from attnkit.masks.contract import Data, Mask
from attnkit.token_mixer import TokenMixer
from attnkit.variant import MapKind

Carry = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Width:
    """The sizes of a mixing layer.

    Attributes:
        model_dim: width of a token's vector.
        heads: number of query heads.
        kv_heads: number of key-value heads.
        head_dim: width of a query, key or value.
        depth: how many blocks of the same stack are below the layer.
        bias: whether queries, keys, values and the output of plain attention have biases.

    Raises:
        ValueError: if the heads do not divide the width, or the key-value heads the heads.
    """

    model_dim: int
    heads: int
    kv_heads: int
    head_dim: int
    depth: int = 0
    bias: bool = False

    @staticmethod
    def of(model_dim: int, heads: int, kv_heads: int | None = None, bias: bool = False) -> "Width":
        """Heads that share `model_dim` equally; as many key-value heads as heads if not given."""
        if model_dim % heads:
            raise ValueError(f"model_dim = {model_dim} must be a multiple of heads = {heads}")
        each = heads if kv_heads is None else kv_heads
        return Width(model_dim, heads, each, model_dim // heads, bias=bias)

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}")


class TokenMixerLayer(nnx.Module):
    """A layer that mixes information between positions, over whole sequences and token by token.

    Points (`attnkit.points`) that layers have where they exist: `q`, `k`, `v` of the heads, `weights`
    `[batch, heads, queries, values]`, `values` and `weighted_values` (`weights @ values` and what does not
    depend on the values), and `head_output` before the heads are joined. Where `weights` are not between
    tokens, `map` `[batch, heads, queries, keys]` is. The note of both is their `MapKind`; a layer without
    them says why.
    """

    @property
    def map_kind(self) -> MapKind:
        """Kind of its map between tokens. Numbers of any sign claim nothing."""
        return "signed"

    @abc.abstractmethod
    def __call__(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Float[Array, "batch queries model_dim"]:
        """The layer's output. The weights of its heads, if it has some, are the point `weights`.

        Args:
            x: tokens of the queries.
            memory: tokens of the keys; `x` itself if not given.
            data: run-time data of masks and parts, every array with a leading batch axis.
            key: random key for dropout, or one for each example; `None` switches it off. Constants that
                are drawn anew at every step are drawn from one key; with many, `redraw` does it.
        """

    def redraw(self, key: jax.Array) -> None:
        """Draw the constants anew that the layer draws at every training step; most have none."""

    @abc.abstractmethod
    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
    ) -> Any:
        """Decoding state of `batch` sequences with room for `room` tokens each.

        Every leaf has a leading batch axis. Keys and values of a memory are computed here, once.

        Args:
            batch: number of sequences.
            room: most tokens of each.
            dtype: type of the state.
            memory: tokens of the keys of cross-attention; `None` for self-attention.
            data: run-time data of the memory; every step is given the same.
        """

    @abc.abstractmethod
    def step(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any]:
        """Output for the tokens that continue `state`, and the next state."""

    def check_below(self, below: Sequence["TokenMixerLayer"]) -> None:
        """Raise `ValueError` if the carry of the layers below will not have what this one needs."""

    def with_carry(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Float[Array, "batch queries model_dim"], Carry]:
        """A call in a stack: the output, and the carry for the layers above.

        Args:
            x: tokens of the queries.
            memory: tokens of the keys; `x` itself if not given.
            carry: arrays by name from the layers below; empty for the lowest.
            data: as in a call.
            key: as in a call.
        """
        return self(x, memory, data=data, key=key), carry

    def step_with_carry(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any, Carry]:
        """A `step` in a stack: output, next state, and the carry for the layers above."""
        output, state = self.step(x, state, data=data)
        return output, state, carry


def token_maps(found: Mapping[str, Any]) -> dict[str, Any]:
    """Values of points `map` and `weights` by the path of their layer: `map` where there is one."""
    maps = {name: value for name, value in found.items() if name.rpartition(".")[2] == "map"}
    chosen = {name.rpartition(".")[0]: value for name, value in maps.items()}
    return {name.rpartition(".")[0]: value for name, value in found.items()} | chosen


def is_map(name: str) -> bool:
    """Whether a point is one that `token_maps` reads."""
    return name.rpartition(".")[2] in ("map", "weights")


class CarryingLayer(TokenMixerLayer):
    """A layer that reads or extends the carry: it defines `with_carry` and `step_with_carry`."""

    def __call__(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Float[Array, "batch queries model_dim"]:
        return self.with_carry(x, memory, carry={}, data=data, key=key)[0]

    def step(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any]:
        return self.step_with_carry(x, state, carry={}, data=data)[:2]


class CustomTokenMixer(TokenMixer, abc.ABC):
    """Options of a token mixer that makes a layer of its own."""

    #: whether documents packed into a sequence stay apart
    keeps_segments: ClassVar[bool] = False

    @abc.abstractmethod
    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        """The layer with fresh parameters.

        Args:
            width: sizes.
            cross: whether the layer will attend to a memory instead of its own input.
            padded: whether tokens at `data.scalar["length"]` and beyond do not exist.
            scale: initial scale of the output.
            rngs: source of the initial values.

        Raises:
            ValueError: if the mixer cannot do what is asked.
        """

    @abc.abstractmethod
    def receptive_field(self) -> Mask:
        """The positions that can influence a position: `Causal()` for a recurrent network.

        A decoder refuses a mixer that sees the future, and the conformance checks test this claim.
        """

    def requires_below(self) -> tuple[TokenMixer, ...]:
        """The mixers that must be below it in a stack, the lowest first; none for most."""
        return ()
