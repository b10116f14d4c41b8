"""Attention of StreamingLLM."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.streaming import Streaming
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class StreamingLlm(Preset):
    """Rotary causal attention to the first `sinks` tokens and the last `window_size`, the own included.

    The paper also numbers keys by their place in its cache instead of in the text; here they keep the text's.

    Attributes:
        sinks: tokens at the start that stay visible.
        window_size: recent tokens, the own included.
    """

    card: ClassVar[Card] = Card(
        source="Xiao et al. 2023 (StreamingLLM), arXiv 2309.17453, section 3.2",
        equation="o_i = sum_{j <= i, j < n or i - j < W} softmax_j(R_i q_i . R_j k_j / sqrt(dim)) v_j",
        assumes="dim is even",
    )
    sinks: Annotated[int, Ge(0)] = 4
    window_size: Annotated[int, Ge(1)] = 1020

    def scored(self) -> Attention:
        mask = Streaming(sinks=self.sinks, back=self.window_size - 1)
        return Attention(position=(Rotary(),), mask=mask)
