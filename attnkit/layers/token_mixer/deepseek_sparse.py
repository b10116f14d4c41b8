"""DeepSeek sparse attention: attention to the keys that a lightning indexer picks, and what trains it."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from flax import nnx
from jaxtyping import Array, Float

from attnkit import forms
from attnkit.layers.attention import AttentionLayer, AttentionTokenMixer
from attnkit.layers.contract import Carry, TokenMixerLayer, Width
from attnkit.layers.heads import (
    Tokens,
    fitted,
)
from attnkit.masks.contract import Data
from attnkit.option_class import options
from attnkit.scored.contract import (
    Columns,
    Keys,
    Params,
    Parts,
    Position,
    Queries,
    Rows,
    Score,
    Scored,
    Scores,
)
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.selection.lightning_indexer import LightningIndexer, index, index_inputs
from attnkit.variant import Card, HeadShape, TokenInput


@options
class DeepseekSparse(AttentionTokenMixer):
    """Each query attends to the `count` keys whose index is highest, the same for all heads.

    The index learns by a penalty alone, and the penalty moves nothing else: for each query, the cross-entropy
    between the weights of attention, mean over heads, and the softmax of the index over the chosen keys. That
    is the paper's divergence of sparse training but for the entropy of the weights, which the index cannot
    change. The paper's warm-up, before anything is chosen, is `count` at least the length. A network adds the
    penalty, mean over queries and times `penalty`, to its objective.

    Keys that are not chosen are computed and then hidden. The penalty asks for the index of every pair in
    every head, three times more for all heads, two of them to choose again, and for the weights of attention.

    Attributes:
        count: keys that a query sees.
        index_heads: heads of the index.
        index_dim: width of its queries and of its key.
        penalty: factor of the penalty.
    """

    card: ClassVar[Card] = Card(
        source="DeepSeek-AI 2025 (DeepSeek-V3.2), arXiv 2512.02556, equations 1, 2 and 4; without rotation "
        "of the index, and with plain heads instead of a latent",
        equation="o_i = sum_{j in S_i} softmax_j(q_i . k_j / sqrt(dim)) v_j, S_i = best count of j by I_ij, "
        "I_ij = sum_h w_ih relu(q'_ih . k'_j) / sqrt(index_heads index_dim)",
        pair_flops="2 * index_heads * index_dim / heads",
        token_flops="2 * model_dim * (index_heads * index_dim + index_heads + index_dim)",
        cache="2 * kv_heads * head_dim + index_heads * index_dim + index_heads + index_dim",
        forms=("dense", "blockwise", "step"),
        assumes="a network that adds the penalty to its objective, as all here do",
    )
    checked_with: ClassVar[dict[str, int]] = {"count": 4, "index_heads": 2, "index_dim": 3}
    refuses: ClassVar[Mapping[str, str]] = {
        "cross_attention": "its index is made of the tokens of the queries"
    }
    unclaimed: ClassVar[dict[str, str]] = {
        "gradients": "the index has no part in the output's gradient; it is trained by the penalty, which "
        "has a test of its own"
    }
    count: Annotated[int, Ge(1)] = 2048
    index_heads: Annotated[int, Ge(1)] = 64
    index_dim: Annotated[int, Ge(1)] = 128
    penalty: Annotated[float, Gt(0)] = 1.0

    def scored(self) -> Scored:
        indexer = LightningIndexer(heads=self.index_heads, dim=self.index_dim, count=self.count)
        return dataclasses.replace(super().scored(), selection=(indexer,))

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        if self.mask.heads() is not None:
            raise ValueError(
                f"mixer = DeepseekSparse: mask = {self.mask} distinguishes heads, but they share one index; "
                "use one mask for all"
            )
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        project, output = self.make_input(width, rngs), self.make_output(width, scale, rngs)
        return DeepseekSparseLayer(self, scored, project, output, width.model_dim, rngs=rngs)


@options
class IndexScore(Score):
    """The index as the score of an attention."""

    heads: int
    dim: int

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return index_inputs(self.heads, self.dim)

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return index(p, self.heads)


@options
class IndexValue(Position):
    """The index as the value of each pair."""

    heads: int
    dim: int

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return index_inputs(self.heads, self.dim)

    def value(self, p: Params, w: Scores, i: Rows, j: Columns) -> Float[Array, "queries value_dim"]:
        return jnp.sum(w * index(p, self.heads), axis=1, keepdims=True)


class DeepseekSparseLayer(AttentionLayer):
    """The layer of `DeepseekSparse`.

    It hands up `index`, the inputs of its index, and `penalty [batch]`, added to that of the layers below.
    """

    def __init__(self, config: DeepseekSparse, *given: Any, rngs: nnx.Rngs) -> None:
        super().__init__(*given, rngs=rngs)
        self.factor, self.heads, self.dim = config.penalty, config.index_heads, config.index_dim

    def with_carry(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Carry]:
        y, above = super().with_carry(x, memory, carry=carry, data=data, key=key)
        still = jax.lax.stop_gradient(x)
        made = self.token_inputs(still, still, carry)
        penalty = self.factor * self.disagreement(still, made, data or Data())
        return y, {**above, "index": made.selection, "penalty": carry.get("penalty", 0.0) + penalty}

    def step_with_carry(
        self, x: Tokens, state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Tokens, Any, Carry]:
        y, state, above = super().step_with_carry(x, state, carry=carry, data=data)
        return y, state, {**above, "index": self.token_inputs(x, x, carry).selection}

    def disagreement(self, x: Tokens, made: Parts[dict[str, Array]], data: Data) -> Float[Array, "batch"]:
        """The cross-entropy of attention and index, mean over the tokens that exist.

        With `P` the mean over heads of the weights, it is `log sum_j exp I_ij - sum_j P_ij I_ij` over the
        chosen keys: the log-sum-exp of an attention whose score is the index, and the output of the layer's
        own attention where the value of a pair is its index.
        """
        scored, wide = self.engine.scored, jnp.promote_types(x.dtype, jnp.float32)
        part = {"heads": self.heads, "dim": self.dim}
        weighing = dataclasses.replace(scored, position=(*scored.position, IndexValue(**part)), dropout=0.0)
        scoring = Scored(
            score=IndexScore(**part), normalizer=Softmax(), mask=scored.mask, selection=scored.selection
        )
        q, (k, _) = self.project.queries(x), self.project.keys_values(x, {})
        still = jax.lax.stop_gradient((self.engine.learned(), q.astype(wide), k.astype(wide), made))

        learned = still[0].replace(position=(*still[0].position, {}))

        def one(q: Array, k: Array, made: Any, index: Any, data: Any) -> Array:
            inputs = made.replace(position=(*made.position, index))
            values = jnp.zeros_like(k[..., :1])
            own = data.only(weighing.needs())
            found = forms.attend(weighing, learned, q, k, values, inputs=inputs, data=own)
            nothing = jnp.zeros((1, x.shape[1], 1), wide)
            inputs = Parts(index, {}, (), made.selection)
            own = data.only(scoring.needs())
            lse = forms.attend(scoring, None, nothing, nothing, nothing, inputs=inputs, data=own).lse[0]
            return jnp.where(lse > -jnp.inf, lse - found.output[..., 0].mean(0), 0)

        each = jax.vmap(one)(*still[1:], made.selection[0], data)
        if "length" not in data.scalar:
            return each.mean(axis=1)
        real = jnp.arange(x.shape[1]) < data.scalar["length"][:, None]
        return jnp.sum(jnp.where(real, each, 0), axis=1) / jnp.maximum(real.sum(axis=1), 1)
