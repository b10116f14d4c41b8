"""Attention of Mistral 7B."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class Mistral(Preset):
    """Rotary attention to the last `window_size` tokens, the own included.

    Attributes:
        window_size: tokens in sight, the own included.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Jiang et al. 2023 (Mistral 7B), arXiv 2310.06825",
        equation="o_i = sum_{i - W < j <= i} softmax_j(R_i q_i . R_j k_j / sqrt(dim)) v_j",
        assumes="dim is even",
    )
    window_size: Annotated[int, Ge(1)] = 4096
    base: Annotated[float, Gt(1)] = 10000.0

    def scored(self) -> Attention:
        position = (Rotary(base=self.base),)
        mask = Window(back=self.window_size - 1)
        return Attention(position=position, mask=mask)
