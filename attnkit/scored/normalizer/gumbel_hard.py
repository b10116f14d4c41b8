"""One key, drawn with its softmax weight."""

from typing import Annotated, ClassVar

from annotated_types import Gt

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Params, Rows, Scores
from attnkit.scored.normalizer.gumbel import perturbed
from attnkit.scored.normalizer.hard import Hard
from attnkit.variant import Card


@options
class GumbelHard(Hard):
    """All weight on one key, drawn with its softmax weight; the derivative is that of `Gumbel`.

    Without a random key it takes the best key, as `Hard` does.

    Attributes:
        temperature: of the softmax that the derivative is taken of.
    """

    card: ClassVar[Card] = Card(
        source="Jang, Gu & Poole 2017, arXiv 1611.01144, section 2.2, straight-through",
        equation="w_j = [j = argmax_l (s_l + g_l)], dw = d softmax((s + g) / t)",
        pair_flops="30",
    )
    random: ClassVar[bool] = True
    temperature: Annotated[float, Gt(0)] = 1.0

    def transform_capped_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        return perturbed(p, s, i, j, self.temperature)
