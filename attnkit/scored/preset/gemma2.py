"""Attention of Gemma 2."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class Gemma2(Preset):
    """Rotary attention with capped scores; every other layer sees only the last `window_size` tokens.

    The released models take their scale from a number in their config (`query_pre_attn_scalar`), which for
    most sizes is the head dim: `scale = None` is `1 / sqrt(dim)`.

    Attributes:
        window_size: tokens in sight, the own included; `None` for the layers that see all.
        cap: scores stay between minus and plus this.
        scale: factor of the product.
    """

    card: ClassVar[Card] = Card(
        source="Gemma Team 2024 (Gemma 2), arXiv 2408.00118",
        equation="o_i = sum_{j <= i} softmax_j(c tanh(R_i q_i . R_j k_j / (sqrt(dim) c))) v_j, c = 50",
        assumes="dim is even",
    )
    window_size: Annotated[int, Ge(1)] | None = 4096
    cap: Annotated[float, Gt(0)] = 50.0
    scale: Annotated[float, Gt(0)] | None = None

    def scored(self) -> Attention:
        mask = Causal() if self.window_size is None else Window(back=self.window_size - 1)
        return Attention(score=Dot(scale=self.scale), position=(Rotary(),), cap=self.cap, mask=mask)
