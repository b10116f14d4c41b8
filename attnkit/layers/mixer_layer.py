"""From the options of a mixer to the layer that owns its parameters."""

import dataclasses

from flax import nnx

from attnkit.layers.mixing import LayerMixer, Mixing, Width
from attnkit.layers.multi_head import MultiHead
from attnkit.masks.padding import Padding
from attnkit.mixer import Mixer
from attnkit.scored.contract import HeadShape, Preset, Scored

__all__ = ["Width", "mixer_layer"]


def mixer_layer(
    mixer: Mixer,
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
        padded: whether keys at `data["length"]` and beyond do not exist.
        scale: initial scale of the output.
        rngs: source of the initial values.

    Raises:
        ValueError: if the mixer cannot do what is asked.
    """
    if isinstance(mixer, LayerMixer):
        return mixer.layer(width, cross=cross, padded=padded, scale=scale, rngs=rngs)
    if isinstance(mixer, Preset):
        scored = mixer.scored()
        if padded:
            scored = without_padding(scored)
        if cross:
            refuse_query_inputs(mixer, scored, width)
        return MultiHead(
            scored,
            width.model_dim,
            heads=width.heads,
            kv_heads=width.kv_heads,
            head_dim=width.head_dim,
            scale=scale,
            rngs=rngs,
        )
    raise ValueError(
        f"mixer = {type(mixer).__name__}: expected a mixer that keeps a known contract; "
        "derive it from Preset or LayerMixer"
    )


def without_padding(scored: Scored) -> Scored:
    """The same attention to keys that exist."""
    if "length" in scored.mask.needs():
        return scored
    return dataclasses.replace(scored, mask=scored.mask & Padding())


def refuse_query_inputs(mixer: Mixer, scored: Scored, width: Width) -> None:
    """Raise `ValueError` if a token input belongs to queries: they are not the tokens remembered."""
    shape = HeadShape(width.heads, width.kv_heads, width.head_dim, width.head_dim)
    for name, need in scored.inputs(shape).items():
        if need.side != "key":
            raise ValueError(
                f"mixer = {type(mixer).__name__}: its input {name} belongs to queries; "
                "use it for self-attention, not for cross-attention"
            )
