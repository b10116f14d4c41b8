"""From the options of a mixer to the layer that owns its parameters."""

from flax import nnx

from attnkit.approximate.contract import Approximate
from attnkit.layers.approximate import Approximation
from attnkit.layers.heads import fitted
from attnkit.layers.mixing import LayerTokenMixer, Mixing, Width
from attnkit.layers.multi_head import multi_head
from attnkit.layers.recurrent import RecurrentLayer
from attnkit.recurrent.contract import Recurrent
from attnkit.scored.contract import Preset
from attnkit.token_mixer import TokenMixer

__all__ = ["Width", "mixer_layer"]


def mixer_layer(
    mixer: TokenMixer,
    width: Width,
    *,
    cross: bool = False,
    padded: bool = False,
    scale: float = 1.0,
    rngs: nnx.Rngs,
) -> Mixing:
    """The layer for a mixer, by the contract that the mixer keeps.

    Args:
        mixer: options of the mixer.
        width: sizes.
        cross: whether the layer will attend to a memory instead of its own input.
        padded: whether keys at `data.scalar["length"]` and beyond do not exist.
        scale: initial scale of the output.
        rngs: source of the initial values.

    Raises:
        ValueError: if the mixer cannot do what is asked.
    """
    if isinstance(mixer, LayerTokenMixer):
        return mixer.layer(width, cross=cross, padded=padded, scale=scale, rngs=rngs)
    if isinstance(mixer, Approximate):
        return Approximation(mixer, width, cross=cross, padded=padded, scale=scale, rngs=rngs)
    if isinstance(mixer, Preset):
        scored = fitted(mixer, mixer.scored(), width, cross=cross, padded=padded)
        return multi_head(scored, width, scale=scale, rngs=rngs)
    if isinstance(mixer, Recurrent):
        return RecurrentLayer(mixer, width, cross=cross, padded=padded, scale=scale, rngs=rngs)
    raise ValueError(
        f"mixer = {type(mixer).__name__}: expected a mixer that keeps a known contract; "
        "derive it from Preset, Approximate, LinearRecurrent or LayerTokenMixer"
    )
