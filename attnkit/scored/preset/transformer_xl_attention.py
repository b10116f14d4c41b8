"""Attention of Transformer-XL."""

from typing import Annotated, ClassVar

from annotated_types import Ge, MultipleOf

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.transformer_xl import TransformerXl
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class TransformerXlAttention(Preset):
    """Causal attention that compares the query with a key and with its distance.

    The paper's memory of earlier segments is a matter of the network. `width` sinusoids stand for a distance.

    Attributes:
        width: number of sinusoids, even.
    """

    card: ClassVar[Card] = Card(
        source="Dai et al. 2019, arXiv 1901.02860, section 3.3",
        equation="o_i = sum_{j <= i} softmax_j(((q_i + u) . k_j + (q_i + v) . W r_{i-j}) / sqrt(dim)) v_j",
        assumes="causal self-attention",
    )
    width: Annotated[int, Ge(2), MultipleOf(2)] = 64

    def scored(self) -> Attention:
        position = (TransformerXl(width=self.width),)
        return Attention(position=position, mask=Causal())
