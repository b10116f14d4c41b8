"""The base class of all options that mix information between positions, with the rules on their use.

A rule is a method that raises `ValueError`; `attnkit validate` and the constructors of layers call the same.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from attnkit.hooks import Hooked
from attnkit.variant import MapKind


class TokenMixer(Hooked):
    """Options of one way of mixing information between positions.

    Scored attention, recurrent attention, approximations and the recurrent and convolutional baselines
    are token mixers. A model takes one for each layer; `attnkit.layers.build` owns its parameters.

    `refuses` maps uses that are undefined for a mixer to the reason: `cross_attention`, attending to a
    memory; `autoregressive`, use in a decoder; `bidirectional`, a second pass over the reversed sequence;
    `lowest`, the first layer of a stack.
    """

    refuses: ClassVar[Mapping[str, str]] = {}
    #: why no matrix of weights multiplies the values; empty if there is one
    mapless: ClassVar[str] = ""

    def map_kind(self) -> MapKind:
        """Kind of its map. Numbers of any sign claim nothing."""
        return "signed"

    def receptive_field(self) -> Any:
        """The mask of the positions that can influence a position; `None` if unknown."""
        return None

    def check_cross_attention(self) -> None:
        """Raise `ValueError` if the mixer cannot attend to a memory."""
        if why := self.refuses.get("cross_attention"):
            raise ValueError(no_cross_attention(self, why))

    def check_lowest(self) -> None:
        """Raise `ValueError` if the mixer cannot be the first layer of a stack."""
        if why := self.refuses.get("lowest"):
            raise ValueError(f"mixer = {type(self).__name__}: {why}; put an attention layer below it")

    def check_heads(self, heads: int, kv_heads: int, head_dim: int) -> None:
        """Raise `ValueError` if the mixer cannot have so many heads or features in a head."""


def no_cross_attention(mixer: Any, why: str) -> str:
    """The message for a mixer that is used as cross-attention but cannot be."""
    return f"mixer = {type(mixer).__name__}: {why}; use it for self-attention, not for cross-attention"
