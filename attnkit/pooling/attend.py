"""Pooling by scored attention: scores of tokens, or queries that belong to no token."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit import forms
from attnkit.masks.contract import Data
from attnkit.masks.same_document import SameDocument
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Normalizer, Params, Parts, Queries, Rows, Score, Scores
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape, TokenInput


@options
class TokenScore(Score):
    """A score that is given for every key, the same for all queries: `s_ij = c_j`."""

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"score": TokenInput(bias=0.0)}

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return jnp.broadcast_to(p.key["score"][:, 0], (i.shape[0], j.shape[0]))


def init_normalizer(key: jax.Array, normalizer: Normalizer, heads: int, dim: int) -> dict[str, Any]:
    """Fresh parameters of the normalizer."""
    return dict(normalizer.init(key, HeadShape(heads, dim, dim)))


def attend_by_score(
    normalizer: Normalizer,
    p: Mapping[str, Any],
    scores: Float[Array, "hops tokens"],
    x: Float[Array, "tokens dim"],
    keep: Bool[Array, "tokens"],
) -> tuple[Float[Array, "hops dim"], Float[Array, "hops tokens"]]:
    """`w x` and `w`, the normalized scores of the kept tokens."""
    attention = Attention(score=TokenScore(), normalizer=normalizer, mask=SameDocument())
    q = jnp.zeros((scores.shape[0], 1, x.shape[1]), x.dtype)
    wide = scores.astype(jnp.promote_types(x.dtype, jnp.float32))
    output, w = over_kept(attention, p, q, x[None], x[None], keep, {"score": wide[..., None]})
    return output[:, 0], w[:, 0]


def attend(
    normalizer: Normalizer,
    p: Mapping[str, Any],
    q: Float[Array, "heads seeds dim"],
    k: Float[Array, "heads tokens dim"],
    v: Float[Array, "heads tokens value_dim"],
    keep: Bool[Array, "tokens"],
) -> tuple[Float[Array, "heads seeds value_dim"], Float[Array, "heads seeds tokens"]]:
    """Output and weights of scaled dot-product attention of learned queries over the kept tokens."""
    return over_kept(Attention(normalizer=normalizer, mask=SameDocument()), p, q, k, v, keep, {})


def over_kept(
    attention: Attention,
    p: Mapping[str, Any],
    q: Array,
    k: Array,
    v: Array,
    keep: Array,
    score_inputs: dict[str, Array],
) -> tuple[Array, Array]:
    """Output and weights; the document of the queries is that of the kept tokens."""
    params, inputs = Parts({}, dict(p)), Parts(score_inputs, {})
    data = Data({"segment": jnp.ones(q.shape[1], jnp.int32)}, {"segment": keep.astype(jnp.int32)})
    output = forms.attend(attention, params, q, k, v, inputs=inputs, data=data).output
    return output, forms.weights(attention, params, q, k, inputs=inputs, data=data)
