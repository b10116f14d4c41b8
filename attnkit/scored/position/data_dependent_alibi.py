"""Biases that fall with the distance as fast as the tokens between say, on both sides."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, TokenInput


@options
class DataDependentAlibi(Position):
    """Forgetting attention in both directions, with a gate for looking back and one for looking ahead.

    Back, the gates after the key up to and including the query's count; ahead, those after the query up to
    and including the key's. Under a causal mask the second gate does nothing: take `fox`. With gates that do
    not depend on the token this is ALiBi with slope `-log sigmoid(gate)`.

    Attributes:
        start: initial bias of the gates' projections; 5 forgets 0.7 percent at each token.
    """

    card: ClassVar[Card] = Card(
        source="Lin et al. 2025, arXiv 2503.02130 (causal); two-sided as in x-transformers",
        equation="s_ij <- s_ij + sum_{l=j+1..i} log sigmoid(b_l) + sum_{l=i+1..j} log sigmoid(a_l)",
        pair_flops="5",
        assumes="self-attention",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    start: float = 5.0

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        gate = TokenInput(side="both", cumulative=True, bias=self.start)
        return {"back": gate, "ahead": gate}

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return jax.nn.log_sigmoid(raw.astype(jnp.promote_types(raw.dtype, jnp.float32)))

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        back, ahead = p.query["back"] - p.key["back"].T, p.key["ahead"].T - p.query["ahead"]
        return jnp.where(j[None, :] <= i[:, None], back, ahead)
