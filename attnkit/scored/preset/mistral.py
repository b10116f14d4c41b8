"""Attention of Mistral 7B."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.masks.window import Window
from attnkit.options import options
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class Mistral(Preset):
    """Rotary attention to the last `window` tokens, the own included.

    Attributes:
        window: tokens in sight.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Jiang et al. 2023 (Mistral 7B), arXiv 2310.06825",
        equation="o_i = sum_{i - W < j <= i} softmax_j(R_i q_i . R_j k_j / sqrt(dim)) v_j",
        assumes="dim is even",
    )
    window: Annotated[int, Ge(1)] = 4096
    base: Annotated[float, Gt(1)] = 10000.0

    def scored(self) -> Scored:
        position = (Rotary(base=self.base),)
        mask = Window(back=self.window - 1)
        return Scored(score=Dot(), position=position, normalizer=Softmax(), mask=mask)
