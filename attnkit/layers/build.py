"""`build_layer`: the layer of a token mixer, with fresh parameters."""

from flax import nnx

from attnkit.approximate.contract import Approximate
from attnkit.layers.approximate import ApproximationLayer
from attnkit.layers.attention import AttentionLayer, Engine, attention_layer
from attnkit.layers.contract import CustomTokenMixer, TokenMixerLayer, Width
from attnkit.layers.heads import fitted
from attnkit.layers.recurrent import RecurrentLayer
from attnkit.recurrence.contract import Recurrent
from attnkit.scored.contract import Preset
from attnkit.token_mixer import TokenMixer

__all__ = ["Width", "build_layer", "check_sequence_axis"]


def build_layer(
    mixer: TokenMixer,
    width: Width,
    *,
    cross: bool = False,
    padded: bool = False,
    scale: float = 1.0,
    rngs: nnx.Rngs,
) -> TokenMixerLayer:
    """The layer of a token mixer, with fresh parameters: the way from options to an `nnx.Module`.

    >>> import jax.numpy as jnp
    >>> from attnkit.scored.preset.attention import Attention
    >>> layer = build_layer(Attention(), Width.of(model_dim=8, heads=2), rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((1, 5, 8))).shape
    (1, 5, 8)

    Args:
        mixer: options of any family.
        width: sizes, such as `Width.of(model_dim, heads)`.
        cross: whether the layer will attend to a memory instead of its own input.
        padded: whether keys at `data.scalar["length"]` and beyond do not exist.
        scale: initial scale of the output.
        rngs: source of the initial values.

    Raises:
        ValueError: if the mixer cannot do what is asked.
    """
    if cross:
        mixer.check_cross_attention()
    elif width.depth == 0:
        mixer.check_lowest()
    mixer.check_heads(width.heads, width.kv_heads, width.head_dim)
    if width.bias and not isinstance(mixer, Preset):
        raise ValueError(
            f"attention_bias = True: {type(mixer).__name__} has projections of its own; say attention_bias = "
            "False, or use a kind of plain attention"
        )
    if isinstance(mixer, CustomTokenMixer):
        return mixer.make_layer(width, cross=cross, padded=padded, scale=scale, rngs=rngs)
    if isinstance(mixer, Approximate):
        return ApproximationLayer(mixer, width, cross=cross, padded=padded, scale=scale, rngs=rngs)
    if isinstance(mixer, Preset):
        scored = fitted(mixer, mixer.scored(), width, cross=cross, padded=padded)
        return attention_layer(scored, width, scale=scale, rngs=rngs)
    if isinstance(mixer, Recurrent):
        return RecurrentLayer(mixer, width, cross=cross, padded=padded, scale=scale, rngs=rngs)
    raise ValueError(
        f"mixer = {type(mixer).__name__}: expected a mixer of a known family; "
        "derive it from Preset, Approximate, LinearRecurrent or CustomTokenMixer"
    )


def check_sequence_axis(layer: TokenMixerLayer, axis: str) -> None:
    """Raise `ValueError` if a layer needs whole sequences, and none can be shared along a mesh axis.

    It needs them if it reads other tokens in another way than by `attend` and `recur`.
    """
    name = type(layer).__name__
    if isinstance(layer, RecurrentLayer):
        reason = "with cross = True it keeps the state after a whole memory" if layer.cross else None
    elif type(layer) is not AttentionLayer:
        reason = f"{name} mixes tokens in a way of its own"
    elif type(layer.engine) is not Engine:
        reason = f"{type(layer.engine).__name__} attends to more than the tokens"
    else:
        reason = None
    if reason:
        raise ValueError(f"axis = {axis!r}: {reason}; give it whole sequences, and leave axis out")
