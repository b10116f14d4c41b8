"""Gated convolution."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.contract import CustomTokenMixer, TokenMixerLayer, Width
from attnkit.layers.conv_window import ConvWindow
from attnkit.layers.linear import Linear
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.points import absent, point
from attnkit.variant import Card

Tokens = Float[Array, "batch length model_dim"]


@options
class Convolution(CustomTokenMixer):
    """Each position sees a window of tokens, by a convolution with a gate on its output.

    Blocks of this mixer with growing dilation are WaveNet's; without, those of a convolutional
    sequence-to-sequence model.

    Attributes:
        conv_size: tokens of a window.
        dilation: distance from one to the next.
        causal: whether a window ends at its position, or has it in its middle (for reading only).
        gate: `linear` for ConvS2S's gated linear unit, `tanh` for WaveNet's.
    """

    card: ClassVar[Card] = Card(
        source="Gehring et al. 2017 (ConvS2S), arXiv 1705.03122, section 3.2; van den Oord et al. 2016 "
        "(WaveNet), arXiv 1609.03499",
        equation="y_t = O (f(sum_n W_n x_{t-nd} + b) * sigmoid(sum_n V_n x_{t-nd} + c))",
    )
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "it mixes neighbors"}
    keeps_segments: ClassVar[bool] = True
    conv_size: Annotated[int, Ge(1)] = 4
    dilation: Annotated[int, Ge(1)] = 1
    causal: bool = True
    gate: Literal["linear", "tanh"] = "linear"

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        return ConvolutionLayer(self, width.model_dim, scale=scale, rngs=rngs)

    def receptive_field(self) -> Mask:
        return Causal() if self.causal else Everything()


class ConvolutionLayer(TokenMixerLayer):
    """The layer of `Convolution`."""

    def __init__(self, config: Convolution, dim: int, *, scale: float, rngs: nnx.Rngs) -> None:
        self.window = ConvWindow(config.conv_size, config.dilation, config.causal)
        self.gate = config.gate
        self.dim = dim
        self.inward = Linear(config.conv_size * dim, 2 * dim, rngs=rngs)
        self.outward = Linear(dim, dim, bias=None, scale=scale, rngs=rngs)

    def convolve(self, windows: Float[Array, "batch length width dim"]) -> Tokens:
        """The gated sum of each window."""
        value, gate = jnp.split(self.inward(windows.reshape(*windows.shape[:2], -1)), 2, axis=-1)
        value = jnp.tanh(value) if self.gate == "tanh" else value
        absent("weights", "its gate multiplies one map of the tokens around by another")
        return self.outward(point("head_output", (value * jax.nn.sigmoid(gate))[:, None])[:, 0])

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Tokens:
        return self.convolve(self.window.windows(x, data))

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        self.window.check_causal()
        return jnp.zeros((batch, self.window.span, self.dim), dtype)

    def step(self, x: Tokens, state: Any, *, data: Data | None = None) -> tuple[Tokens, Any]:
        windows, tail = self.window.continued(state, x)
        return self.convolve(windows), tail
