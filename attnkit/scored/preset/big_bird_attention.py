"""Attention of BigBird."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.big_bird import BigBird
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class BigBirdAttention(Preset):
    """Attention to neighboring, global and random blocks, for an encoder.

    Attributes:
        size: tokens in a block.
        near: neighboring blocks on each side.
        first: global blocks, at the start.
        random: random blocks for each block of queries.
        length: the longest sequence.
        seed: which random blocks.
    """

    card: ClassVar[Card] = Card(
        source="Zaheer et al. 2020 (BigBird), arXiv 2007.14062, section 2",
        equation="o_i = sum_{j in near, global or random blocks} softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "its blocks look both ways"}
    size: Annotated[int, Ge(1)] = 64
    near: Annotated[int, Ge(0)] = 1
    first: Annotated[int, Ge(0)] = 2
    random: Annotated[int, Ge(0)] = 3
    length: Annotated[int, Ge(1)] = 4096
    seed: Annotated[int, Ge(0)] = 0

    def scored(self) -> Attention:
        mask = BigBird(
            size=self.size,
            near=self.near,
            first=self.first,
            random=self.random,
            length=self.length,
            seed=self.seed,
        )
        return Attention(mask=mask)
