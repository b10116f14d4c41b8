"""Attention of gpt-oss."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class GptOss(Preset):
    """Rotary attention with a learned sink; every other layer sees only the last `window_size` tokens.

    The released models also stretch their rotations with YaRN, which is an option of the position and not of
    the attention: `attention` with `rotary_yarn` and `sink` has it.

    Attributes:
        window_size: tokens in sight, the own included; `None` for the layers that see all.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="OpenAI 2025 (gpt-oss), arXiv 2508.10925, section 2.2",
        equation="o_i = sum_{i - W < j <= i} exp(s_ij) v_j / (exp(a_h) + sum_l exp(s_il)), "
        "s_ij = R_i q_i . R_j k_j / sqrt(dim)",
        assumes="dim is even",
    )
    window_size: Annotated[int, Ge(1)] | None = 128
    base: Annotated[float, Gt(1)] = 150000.0

    def scored(self) -> Attention:
        mask = Causal() if self.window_size is None else Window(back=self.window_size - 1)
        return Attention(position=(Rotary(base=self.base),), normalizer=Sink(), mask=mask)
