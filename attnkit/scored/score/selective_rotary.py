"""Scaled dot product of queries and keys that turn by angles of the tokens' own."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Gt

from attnkit.encodings.rotation import frequencies, turn
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card, HeadShape, TokenInput


@options
class SelectiveRotary(Score):
    """Every token turns all later ones against all earlier ones, by an angle for each pair of features.

    The angle of the query's own position counts, that of the key's does not. Angles are running sums of
    projections of full rank, times the fixed temperatures of the authors' `rope` kind; with projections of 1
    it is rotary embedding. Of the authors' layer it leaves out the short convolution of the projections and
    the normalization of their input. Pairs are halves of the vector; an odd last feature does not turn.
    A score and not a position part, because keys belong to groups of heads and angles to heads.

    Attributes:
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Movahedi et al. 2025 (Selective RoPE), arXiv 2511.17388, and the authors' code",
        equation="s_ij = R(a_i) q_i . R(a_j) k_j / sqrt(dim), a_i = sum_{l<=i} W x_l * base^(-2c/dim)",
        pair_flops="2 * dim",
        assumes="self-attention",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    base: Annotated[float, Gt(1)] = 500000.0

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"angle": TokenInput(width=shape.dim // 2, side="both", cumulative=True)}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        speed = frequencies(q.shape[1] // 2 * 2, self.base)
        angles = (side["angle"] * speed.astype(side["angle"].dtype) for side in (p.query, p.key))
        q, k = (turn(x, jnp.sin(a), jnp.cos(a)) for x, a in zip((q, k), angles, strict=True))
        return dot(q, k) * float(q.shape[1] ** -0.5)
