"""Rectified attention."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge

from attnkit.option_class import options
from attnkit.scored.contract import Params, Row, Scores
from attnkit.scored.elementwise import ElementwiseNormalizer
from attnkit.variant import Card, MapKind


@options
class Relu(ElementwiseNormalizer):
    """Weights are rectified scores, divided by the number of keys that the query may attend to.

    Attributes:
        power: exponent of the rectified score; 2 gives squared ReLU.
    """

    card: ClassVar[Card] = Card(
        source="Wortsman et al. 2023, arXiv 2309.08586, section 3",
        equation="w_j = max(s_j, 0)^power / n",
        pair_flops="2",
    )
    map_kind: ClassVar[MapKind] = "share"
    power: Annotated[int, Ge(1)] = 1

    def weights(self, p: Params, s: Scores, count: Row) -> Scores:
        return jax.nn.relu(s) ** self.power / count[:, None]
