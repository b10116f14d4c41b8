"""Random Synthesizer: attention weights that do not depend on the tokens."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    Values,
    softmax,
)
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape, Kinds, MapKind


@options
class SynthesizerRandom(Approximate):
    """A table of scores for pairs of positions, the same for every sequence.

    Attributes:
        length: largest number of tokens.
        trained: whether the table is learned or stays as it was drawn.
        causal: whether a position sees the past and itself alone.
    """

    card: ClassVar[Card] = Card(
        source="Tay et al. 2020 (random Synthesizer), arXiv 2005.00743",
        equation="w = softmax(R), R random, [length, length]",
        sequence_flops="2 * length * length * dim",
    )
    projections: ClassVar[tuple[str, ...]] = ("value",)
    length: Annotated[int, Ge(1)] = 512
    trained: bool = True
    causal: bool = False

    kinds: ClassVar[Kinds] = {"scores": "table"}

    def map_kind(self) -> MapKind:
        return "distribution"

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return self._table(key, shape) if self.trained else {}

    def constants(self, key: jax.Array, shape: HeadShape) -> Params:
        return {} if self.trained else self._table(key, shape)

    def _table(self, key: jax.Array, shape: HeadShape) -> Params:
        """Standard normal scores."""
        return {"scores": jax.random.normal(key, (shape.heads, self.length, self.length))}

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        keys = v.shape[0]
        self.check_length(keys)
        return softmax(p["scores"][i, :keys], self.allowed(i, keys, length)) @ v
