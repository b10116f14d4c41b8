"""Attention by distance."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Gt

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Queries, Rows, Score, Scores, dot
from attnkit.variant import Card


@options
class Euclidean(Score):
    """Minus the squared distance between query and key: near keys weigh more, and no score is positive.

    The paper's proof that attention is then Lipschitz also wants queries and keys from one projection,
    which belongs to the layer and is not done here.

    Attributes:
        scale: factor of the squared distance, `1 / sqrt(dim)` if not given.
    """

    card: ClassVar[Card] = Card(
        source="Kim, Papamakarios & Mnih 2021, arXiv 2006.04710, L2 attention",
        equation="s_ij = -|q_i - k_j|^2 / sqrt(dim)",
        pair_flops="2 * dim + 4",
    )
    scale: Annotated[float, Gt(0)] | None = None

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        scale = q.shape[1] ** -0.5 if self.scale is None else self.scale
        wide = jnp.promote_types(q.dtype, jnp.float32)
        of_q, of_k = (jnp.sum(jnp.square(rows.astype(wide)), axis=1) for rows in (q, k))
        return scale * (2 * dot(q, k) - of_q[:, None] - of_k[None, :])
