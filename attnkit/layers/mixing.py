"""What a layer that mixes positions is: the contract of every mixer's layer."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Float

from attnkit.masks.contract import Data, Mask
from attnkit.token_mixer import TokenMixer

Relay = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Width:
    """The sizes of a mixing layer.

    Attributes:
        model_dim: width of a token's vector.
        heads: number of query heads.
        kv_heads: number of key-value heads.
        head_dim: width of a query, key or value.
        depth: how many blocks of the same stack are below the layer.

    Raises:
        ValueError: if the heads do not divide the width, or the key-value heads the heads.
    """

    model_dim: int
    heads: int
    kv_heads: int
    head_dim: int
    depth: int = 0

    @staticmethod
    def of(model_dim: int, heads: int, kv_heads: int | None) -> "Width":
        """Heads that share `model_dim` equally; as many key-value heads as heads if not given."""
        if model_dim % heads:
            raise ValueError(f"model_dim = {model_dim} must be a multiple of heads = {heads}")
        return Width(model_dim, heads, heads if kv_heads is None else kv_heads, model_dim // heads)

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}")


class Mixing(nnx.Module):
    """A layer through which positions exchange information, and its way to decode."""

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
            x: what asks.
            memory: what is asked; `x` itself if not given.
            data: what masks need to know at run time, every array with a leading batch axis.
            key: random key for dropout; `None` switches it off.
        """

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

        Every leaf has a leading batch axis. What must be made of a memory is made here, once, and kept.

        Args:
            batch: number of sequences.
            room: most tokens of each.
            dtype: type of what is kept.
            memory: what will be asked; `None` for the tokens themselves.
            data: what is known of the memory at run time; every step is given the same.
        """

    @abc.abstractmethod
    def step(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any]:
        """Output for the tokens that continue `state`, and the next state."""

    def check_below(self, below: Sequence["Mixing"]) -> None:
        """Raise `ValueError` if the mixing layers below do not hand up what this one needs."""

    def relay(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        below: Relay,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Float[Array, "batch queries model_dim"], Relay]:
        """As a call, for a layer between others: what the layers below hand up comes in by name.

        Returns also what is handed to the layers above: for most layers, what came from below.
        """
        return self(x, memory, data=data, key=key), below

    def relay_step(
        self,
        x: Float[Array, "batch new model_dim"],
        state: Any,
        *,
        below: Relay,
        data: Data | None = None,
    ) -> tuple[Float[Array, "batch new model_dim"], Any, Relay]:
        """As `step`, for a layer between others."""
        output, state = self.step(x, state, data=data)
        return output, state, below


class LayerTokenMixer(TokenMixer, abc.ABC):
    """Options of a mixer that is a layer of its own: it says how the layer is made, and what it sees."""

    #: whether documents packed into a sequence stay apart
    keeps_segments: ClassVar[bool] = False
    #: whether its maps show all that it attends to
    shows_all: ClassVar[bool] = True

    @abc.abstractmethod
    def layer(self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs) -> Mixing:
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
        """By which positions a position can be influenced: `Causal()` for a recurrent network.

        A decoder refuses a mixer that sees the future, and the conformance checks hold it to its word.
        """

    def beneath(self) -> tuple[TokenMixer, ...]:
        """The mixers that must be below it in a stack, the lowest first, for it to make a difference."""
        return ()
