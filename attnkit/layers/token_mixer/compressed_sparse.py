"""Compressed sparse attention: the entries that a lightning indexer picks, and the tokens nearby."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attnkit.layers.contract import Carry, TokenMixerLayer, Width
from attnkit.layers.heads import Heads, Tokens, split_heads
from attnkit.layers.linear import Linear
from attnkit.layers.token_mixer.heavily_compressed import HeavilyCompressed, HeavilyCompressedLayer
from attnkit.layers.token_mixer.native_sparse import Chosen
from attnkit.masks.contract import Data
from attnkit.option_class import options
from attnkit.scored.contract import Selection
from attnkit.variant import Card


@options
class CompressedSparse(HeavilyCompressed):
    """As heavily compressed attention, but entries overlap, and each query sees the `count` best of them.

    An entry is made of its own run and of the one before. The index is the same for all heads, with queries
    of its own and entries of its own, made as those of attention are. Of entries with equal index the
    earlier is taken. The choice carries no derivative: the index learns by a penalty alone, which moves
    nothing else, as that of `deepseek_sparse`. It is the cross-entropy between the weights of the chosen
    entries, mean over heads, and the softmax of their index. Entries that are not chosen are computed and
    then hidden, and the index and the penalty are computed for all pairs of queries and entries at once.

    Attributes:
        size: tokens between two entries, `m` of the paper.
        count: entries that a query sees.
        index_heads: heads of the index.
        index_dim: width of its queries and entries.
        penalty: factor of the penalty.
    """

    card: ClassVar[Card] = Card(
        source="DeepSeek-AI 2026 (DeepSeek-V4), arXiv 2606.19348, sections 2.3.1 and 2.3.3, equations 9 to "
        "17; plain maps of queries and of the output instead of maps of low rank, no YaRN; the penalty is "
        "equation 4 of arXiv 2512.02556",
        equation="o_i = R_i^T sum_j softmax_j(q_i . c_j / sqrt(dim), sink) c_j over S_i and window, S_i = "
        "best count of s by sum_h w_ih relu(q'_ih . c'_s), c_s = sum softmax(z + b) h over runs s and s - 1",
        pair_flops="(4 * dim + 3) / size + (4 * dim + 3) * window_size / length - 4 * dim - 3 "
        "+ 2 * index_heads * index_dim / heads / size",
        token_flops="6 * model_dim * kv_heads * head_dim "
        "+ 2 * model_dim * (index_heads * index_dim + index_heads + 4 * index_dim)",
        cache="2 * kv_heads * head_dim + kv_heads * head_dim / size + index_dim / size",
        state="8 * size * (kv_heads * head_dim + index_dim)",
        forms=("dense", "blockwise", "step"),
        assumes="causal self-attention; a network that adds the penalty to its objective, as all here do",
    )
    checked_with: ClassVar[Mapping[str, Any]] = {
        "size": 2,
        "count": 2,
        "window_size": 3,
        "fraction": 0.5,
        "index_heads": 2,
        "index_dim": 4,
    }
    unclaimed: ClassVar[dict[str, str]] = {
        "gradients": "the index has no part in the output's gradient; it is trained by the penalty, which "
        "has a test of its own"
    }
    size: Annotated[int, Ge(1)] = 4
    count: Annotated[int, Ge(1)] = 512
    index_heads: Annotated[int, Ge(1)] = 64
    index_dim: Annotated[int, Ge(1)] = 128
    penalty: Annotated[float, Gt(0)] = 1.0

    def __post_init__(self) -> None:
        self._check_turning("index_dim", self.index_dim)

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        return CompressedSparseLayer(self, width, scale, rngs=rngs)


def best(
    index: Float[Array, "batch queries entries"], whole: Int[Array, "batch queries"], count: int
) -> Bool[Array, "batch queries entries"]:
    """The `count` entries with the highest index among the first `whole` ones, of equal ones the earlier."""
    fit = jnp.where(jnp.arange(index.shape[-1]) < whole[..., None], index, -jnp.inf)
    top, place = jax.lax.top_k(fit, min(count, index.shape[-1]))
    return jnp.put_along_axis(jnp.zeros(fit.shape, bool), place, top > -jnp.inf, axis=-1, inplace=False)


class CompressedSparseLayer(HeavilyCompressedLayer):
    """The layer of `CompressedSparse`. It hands up `penalty [batch]`, added to that of the layers below."""

    streams: ClassVar[int] = 2
    selection: ClassVar[tuple[Selection, ...]] = (Chosen(size=1),)

    def __init__(self, config: CompressedSparse, width: Width, scale: float, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, width, scale, rngs=rngs)
        self.config: CompressedSparse = config
        dim, index_dim = width.model_dim, config.index_dim
        self.compressions.append(self.compression(dim, 1, index_dim, rngs))
        self.index_query = Linear(dim, config.index_heads * index_dim, bias=None, rngs=rngs)
        self.index_weight = Linear(dim, config.index_heads, bias=None, rngs=rngs)

    def index(
        self, x: Tokens, entries: Heads, start: Int[Array, "batch"]
    ) -> Float[Array, "batch queries entries"]:
        """The index of every entry for the tokens from position `start` on, in at least float32."""
        wide = jnp.promote_types(x.dtype, jnp.float32)
        q = self.turn(split_heads(self.index_query(x), self.config.index_heads), start)
        fit = jnp.einsum("bhid,bjd->bhij", q, entries[:, 0].astype(q.dtype), preferred_element_type=wide)
        scale = float((self.config.index_heads * self.config.index_dim) ** -0.5)
        return scale * jnp.einsum("bih,bhij->bij", self.index_weight(x).astype(wide), jax.nn.relu(fit))

    def chosen(self, x: Tokens, entries: list[Heads], start: Int[Array, "batch"]) -> Data:
        whole = (start[:, None] + jnp.arange(x.shape[1]) + 1) // self.config.size
        index = jax.lax.stop_gradient(self.index(x, entries[1], start))
        return Data(query={"blocks": best(index, whole, self.config.count)})

    def above(
        self,
        x: Tokens,
        q: Heads,
        entries: list[Heads],
        seen: Data,
        share: Array,
        carry: Carry,
        data: Data | None,
    ) -> Carry:
        marks, start = seen.query["blocks"], jnp.zeros(x.shape[0], jnp.int32)
        w = share[..., None] * self.far.weights(q, entries[0], None, seen)
        w = jax.lax.stop_gradient(w.sum(axis=1))
        w = w / jnp.where(marks.any(-1, keepdims=True), w.sum(-1, keepdims=True), 1)
        still = jax.lax.stop_gradient(x)
        index = self.index(still, self.compressions[1](still), start)
        low = jnp.where(marks, index, -jnp.inf)
        lse = jax.nn.logsumexp(low, axis=-1, where=marks, keepdims=True)
        each = jnp.sum(jnp.where(marks, w * (jnp.where(marks, lse, 0) - index), 0), axis=-1)
        length = (data or Data()).scalar.get("length")
        if length is None:
            mean = each.mean(axis=1)
        else:
            real = jnp.arange(x.shape[1]) < length[:, None]
            mean = jnp.sum(jnp.where(real, each, 0), axis=1) / jnp.maximum(real.sum(axis=1), 1)
        return {**carry, "penalty": carry.get("penalty", 0.0) + self.config.penalty * mean}
