"""Scores that grow with the logarithm of the number of tokens, as fast as each token says."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Params, Position, Rows, Scores
from attnkit.variant import Card, HeadShape, TokenInput


@options
class LogLengthScale(Position):
    """Scores are multiplied by a factor that the query's token and its position give.

    Softmax over more keys spreads out, and so do weights with exact zeros; a factor that grows with the
    number of keys keeps them sharp. `b` and `g` are token inputs of the query.

    Attributes:
        least: the factor where the token asks for nothing.
        power: bound of the power of the logarithm.
    """

    card: ClassVar[Card] = Card(
        source="Vasylenko, Treviso & Martins 2025, arXiv 2506.16640, section 3.3, and the authors' code",
        equation="s_ij <- (least + softplus(b_i) log(i + 2)^(power tanh(g_i))) s_ij, i from 0",
        pair_flops="1",
    )
    claims: ClassVar[tuple[str, ...]] = ("permutation",)
    least: Annotated[float, Ge(0)] = 1.0
    power: Annotated[float, Ge(0)] = 2.0

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"b": TokenInput(side="query"), "g": TokenInput(side="query")}

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        wide = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
        return jax.nn.softplus(wide) if name == "b" else self.power * jnp.tanh(wide)

    def transform_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        log = jnp.log(i[:, None] + 2.0).astype(s.dtype)
        return s * (self.least + p.query["b"] * log ** p.query["g"]).astype(s.dtype)
