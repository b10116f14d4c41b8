"""From the options of a mixer to the layer that owns its parameters."""

import dataclasses

from flax import nnx

from attnkit.layers.mixing import Mixing
from attnkit.layers.multi_head import MultiHead
from attnkit.masks.padding import Padding
from attnkit.mixer import Mixer
from attnkit.scored.contract import HeadShape, Preset, Scored


@dataclasses.dataclass(frozen=True)
class Width:
    """The sizes of a mixing layer.

    Attributes:
        model_dim: width of a token's vector.
        heads: number of query heads.
        kv_heads: number of key-value heads.
        head_dim: width of a query, key or value.

    Raises:
        ValueError: if the heads do not divide the width, or the key-value heads the heads.
    """

    model_dim: int
    heads: int
    kv_heads: int
    head_dim: int

    @staticmethod
    def of(model_dim: int, heads: int, kv_heads: int | None) -> "Width":
        """Heads that share `model_dim` equally; as many key-value heads as heads if not given."""
        if model_dim % heads:
            raise ValueError(f"model_dim = {model_dim} must be a multiple of heads = {heads}")
        return Width(model_dim, heads, heads if kv_heads is None else kv_heads, model_dim // heads)

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}")


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
        f"mixer = {type(mixer).__name__}: expected a mixer that keeps a known contract; derive it from Preset"
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
