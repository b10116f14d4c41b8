"""Pooling by attention: scores of tokens, or queries of nobody, through the engine of scored attention."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit import forms
from attnkit.masks.documents import Documents
from attnkit.options import options
from attnkit.scored.contract import Columns, Keys, Normalizer, Params, Queries, Rows, Score, Scored, Scores
from attnkit.scored.score.dot import Dot
from attnkit.variant import HeadShape, TokenInput


@options
class Given(Score):
    """A score that is computed elsewhere from the key's token alone: `s_ij = c_j`."""

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"score": TokenInput(bias=0.0)}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return jnp.broadcast_to(p["score_j"][:, 0], (i.shape[0], j.shape[0]))


def start(key: jax.Array, normalizer: Normalizer, heads: int, dim: int) -> dict[str, Any]:
    """Fresh parameters of the normalizer, by part, as the engine takes them."""
    shape = HeadShape(heads, dim, dim)
    own = dict(normalizer.init(key, shape))
    return {"normalizer": own} if own else {}


def weigh(
    normalizer: Normalizer,
    p: Mapping[str, Any],
    scores: Float[Array, "hops tokens"],
    x: Float[Array, "tokens dim"],
    keep: Bool[Array, "tokens"],
) -> tuple[Float[Array, "hops dim"], Float[Array, "hops tokens"]]:
    """`w x` and `w`, the normalized scores of the kept tokens."""
    scored = Scored(score=Given(), normalizer=normalizer, mask=Documents())
    nobody = jnp.zeros((scores.shape[0], 1, x.shape[1]), x.dtype)
    wide = scores.astype(jnp.promote_types(x.dtype, jnp.float32))
    output, w = seek(scored, p, nobody, x[None], x[None], keep, {"score.score": wide[..., None]})
    return output[:, 0], w[:, 0]


def ask(
    normalizer: Normalizer,
    p: Mapping[str, Any],
    q: Float[Array, "heads seeds dim"],
    k: Float[Array, "heads tokens dim"],
    v: Float[Array, "heads tokens value_dim"],
    keep: Bool[Array, "tokens"],
) -> tuple[Float[Array, "heads seeds value_dim"], Float[Array, "heads seeds tokens"]]:
    """What queries that belong to no token find among the kept ones by scaled products, and the weights."""
    return seek(Scored(score=Dot(), normalizer=normalizer, mask=Documents()), p, q, k, v, keep, {})


def seek(
    scored: Scored, p: Mapping[str, Any], q: Array, k: Array, v: Array, keep: Array, inputs: dict[str, Array]
) -> tuple[Array, Array]:
    """Output and weights of the engine, where a query's document is the kept tokens."""
    data = {"segment_i": jnp.ones(q.shape[1], jnp.int32), "segment_j": keep.astype(jnp.int32)}
    output = forms.attend(scored, p, q, k, v, inputs=inputs, data=data).output
    return output, forms.look(scored, p, q, k, inputs=inputs, data=data)
