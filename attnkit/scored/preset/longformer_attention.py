"""Attention of Longformer."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.longformer import Longformer
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class LongformerAttention(Preset):
    """Attention to a two-sided window and to a few global tokens, for an encoder.

    The paper gives global tokens projections of their own; here all tokens share theirs.

    Attributes:
        window_size: keys in sight, the query's own included; the paper's window is one less.
        dilation: distance of one of them to the next.
        count: global tokens, at the start.
    """

    card: ClassVar[Card] = Card(
        source="Beltagy et al. 2020 (Longformer), arXiv 2004.05150, section 3.1",
        equation="o_i = sum_{j near i or global} softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "its window looks both ways"}
    window_size: Annotated[int, Ge(1)] = 513
    dilation: Annotated[int, Ge(1)] = 1
    count: Annotated[int, Ge(0)] = 1

    def scored(self) -> Attention:
        mask = Longformer(half_width=self.window_size // 2, dilation=self.dilation, count=self.count)
        return Attention(mask=mask)
