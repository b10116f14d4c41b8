"""Forgetting attention."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Fox(Position):
    """Each token has a gate that weakens everything before it, by the logarithm of the gate's value.

    The gate of the query's own position counts, that of the key's does not. A bias is the difference of two
    running sums, kept in at least float32: after 10^5 tokens that forget half, they are rounded to 0.008.

    Attributes:
        start: initial bias of the gates' projection; 0, as in the authors' code, forgets half at each token.
    """

    card: ClassVar[Card] = Card(
        source="Lin et al. 2025 (Forgetting Transformer), arXiv 2503.02130, and the authors' code",
        equation="s_ij <- s_ij + sum_{l=j+1..i} log sigmoid(f_l)",
        pair_flops="2",
        assumes="causal self-attention",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    start: float = 0.0

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"gate": TokenInput(side="both", cumulative=True, bias=self.start)}

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return jax.nn.log_sigmoid(raw.astype(jnp.promote_types(raw.dtype, jnp.float32)))

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return p.query["gate"] - p.key["gate"].T
