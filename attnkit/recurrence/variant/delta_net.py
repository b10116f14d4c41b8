"""DeltaNet."""

from typing import ClassVar

from attnkit.option_class import options
from attnkit.recurrence.delta_rule import DeltaRule
from attnkit.variant import Card


@options
class DeltaNet(DeltaRule):
    """The delta rule: the value stored under a key is replaced by the share beta, not added to."""

    card: ClassVar[Card] = Card(
        source="Yang et al. 2024, arXiv 2406.06484; Schlag et al. 2021, arXiv 2102.11174",
        equation="S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, |k_t| = 1",
        state="heads * dim * value_dim",
    )
