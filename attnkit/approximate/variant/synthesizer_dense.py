"""Dense Synthesizer: each token says by itself how it looks at positions."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
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
class SynthesizerDense(Approximate):
    """Scores for all positions made from the query's token alone by two layers; keys are never compared.

    The query is the first layer before its bias.

    Attributes:
        length: largest number of tokens.
        causal: whether a position sees the past and itself alone.
    """

    card: ClassVar[Card] = Card(
        source="Tay et al. 2020 (dense Synthesizer), arXiv 2005.00743",
        equation="w_i = softmax(relu(q_i + a) W + b), q_i = W_1 x_i",
        sequence_flops="4 * length * length * dim",
        assumes="the hidden layer of a head is as wide as a query",
    )
    projections: ClassVar[tuple[str, ...]] = ("query", "value")
    length: Annotated[int, Ge(1)] = 512
    causal: bool = False

    kinds: ClassVar[Kinds] = {"hidden": "bias", "scores": "weight", "bias": "bias"}

    def map_kind(self) -> MapKind:
        return "distribution"

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {
            "hidden": jnp.zeros((shape.heads, shape.dim)),
            "scores": jax.random.normal(key, (shape.heads, shape.dim, self.length)) * shape.dim**-0.5,
            "bias": jnp.zeros((shape.heads, self.length)),
        }

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        keys = v.shape[0]
        self.check_length(keys)
        scores = jax.nn.relu(q + p["hidden"]) @ p["scores"][:, :keys] + p["bias"][:keys]
        return softmax(scores, self.allowed(i, keys, length)) @ v
