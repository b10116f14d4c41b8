"""What a layer that mixes positions is: the contract of every mixer's layer."""

import abc
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

Data = Mapping[str, jax.Array]


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
        look: bool = False,
    ) -> tuple[Float[Array, "batch queries model_dim"], Float[Array, "batch heads queries keys"] | None]:
        """The layer's output and, if asked for and if it has them, its weights.

        Args:
            x: what asks.
            memory: what is asked; `x` itself if not given.
            data: what masks need to know at run time, every array with a leading batch axis.
            key: random key for dropout; `None` switches it off.
            look: whether to return weights. Looking does not change the output.
        """

    @abc.abstractmethod
    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Float[Array, "batch keys model_dim"] | None = None,
    ) -> Any:
        """Decoding state of `batch` sequences with room for `room` tokens each.

        Every leaf has a leading batch axis.
        """

    @abc.abstractmethod
    def step(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any]:
        """Output for the tokens that continue `state`, and the next state."""
