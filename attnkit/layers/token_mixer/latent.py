"""Multi-head latent attention: keys and values of all heads are made from one small vector for each token."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt, MultipleOf
from flax import nnx

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.layers.attention import AttentionLayer
from attnkit.layers.contract import Carry, CustomTokenMixer, TokenMixerLayer, Width
from attnkit.layers.heads import ConcatProjection, Heads, InputProjection, Tokens, fitted, split_heads
from attnkit.layers.linear import Linear
from attnkit.layers.norm import RMSNorm
from attnkit.masks.contract import Mask
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card, HeadShape


@options
class Latent(CustomTokenMixer):
    """Decoding keeps one latent vector and one rotated key for each token, whatever the number of heads.

    Reading makes every head's keys and values from the latent. Decoding never does: the matrices that
    would make them are applied to the queries and to the outputs instead, which gives the same numbers.

    Attributes:
        latent: width of the vector that keys and values are made from.
        query_latent: width of the vector that queries are made from; `None` to make them from the token.
        rotary: width of the part of queries and keys that turns with position; all heads share that of
            a key. 0 for none.
        base: ratio that sets its slowest rotation.
        normalize: whether latents pass through an RMSNorm.
        mask: who may look at whom.
        dropout: probability with which a weight is dropped during training.
    """

    card: ClassVar[Card] = Card(
        source="DeepSeek-AI 2024 (DeepSeek-V2), arXiv 2405.04434, sections 2.1.2 and 2.1.3",
        equation="c = W x, k = [U c; R_t K x], v = V c, q = [Q x; R_t P x], "
        "o = softmax(q k^T / sqrt(dim + rotary)) v",
        pair_flops="2 * rotary",
        step_pair_flops="2 * (2 * latent + rotary) - 4 * head_dim",
        token_flops="2 * model_dim * (latent + rotary + heads * rotary) "
        "+ 4 * latent * heads * head_dim - 4 * model_dim * kv_heads * head_dim",
        cache="latent + rotary",
        forms=("dense", "blockwise", "step"),
        assumes="kv_heads is not used; positions enter by the rotary part only",
    )
    latent: Annotated[int, Ge(1)] = 64
    query_latent: Annotated[int, Ge(1)] | None = None
    rotary: Annotated[int, Ge(0), MultipleOf(2)] = 16
    base: Annotated[float, Gt(1)] = 10000.0
    normalize: bool = True
    mask: Mask = Everything()
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def _scored(self) -> Scored:
        """The computation of each head."""
        turn = (TurnLast(width=self.rotary, base=self.base),) if self.rotary else ()
        return Scored(score=Dot(), normalizer=Softmax(), position=turn, mask=self.mask, dropout=self.dropout)

    def receptive_field(self) -> Mask:
        return self.mask

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        scored = fitted(self, self._scored(), width, cross=cross, padded=padded)
        project = FromLatent(self, width, rngs=rngs)
        join = ConcatProjection(width.model_dim, width.heads * width.head_dim, scale=scale, rngs=rngs)
        return AttentionLayer(scored, project, join, width.model_dim, rngs=rngs)


@options
class TurnLast(Position):
    """The last `width` features of queries and keys turn with position."""

    width: int
    base: float

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Columns) -> Keys:
        still = k.shape[1] - self.width
        return jnp.concatenate(
            [k[:, :still], rotate(k[:, still:], j, frequencies(self.width, self.base))], axis=-1
        )


class FromLatent(InputProjection):
    """Keeps `[latent, rotated key]` as the one key of a token, and nothing as its value."""

    def __init__(self, config: Latent, width: Width, *, rngs: nnx.Rngs) -> None:
        heads, dim, model_dim = width.heads, width.head_dim, width.model_dim
        self.latent, self.rotary = config.latent, config.rotary
        self.shape = HeadShape(heads, dim + config.rotary, dim)
        self.cached = HeadShape(heads, config.latent + config.rotary, 0, 1)
        asked = config.query_latent
        self.narrow = None if asked is None else Linear(model_dim, asked, bias=None, rngs=rngs)
        self.query_norm = RMSNorm(asked) if asked is not None and config.normalize else None
        self.query = Linear(asked or model_dim, heads * self.shape.dim, bias=None, rngs=rngs)
        self.down = Linear(model_dim, self.cached.dim, bias=None, rngs=rngs)
        self.norm = RMSNorm(config.latent) if config.normalize else None
        self.up_key = Linear(config.latent, heads * dim, bias=None, rngs=rngs)
        self.up_value = Linear(config.latent, heads * dim, bias=None, rngs=rngs)

    def queries(self, x: Tokens) -> Heads:
        x = x if self.narrow is None else self.narrow(x)
        return split_heads(self.query(x if self.query_norm is None else self.query_norm(x)), self.shape.heads)

    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        c, turning = jnp.split(self.down(x), [self.latent], axis=-1)
        kept = jnp.concatenate([c if self.norm is None else self.norm(c), turning], axis=-1)[:, None]
        return kept, kept[..., :0]

    def expand(self, k: Heads, v: Heads) -> tuple[Heads, Heads]:
        c, turning = jnp.split(k[:, 0], [self.latent], axis=-1)
        heads = self.shape.heads
        turning = jnp.broadcast_to(turning[:, None], (k.shape[0], heads, *turning.shape[1:]))
        still = split_heads(self.up_key(c), heads)
        return jnp.concatenate([still, turning], axis=-1), split_heads(self.up_value(c), heads)

    def decoding(self) -> InputProjection:
        return Absorbed(self)


class Absorbed(InputProjection):
    """The same attention over latents: the up-projections are applied to queries and outputs instead."""

    def __init__(self, whole: FromLatent) -> None:
        self.whole, self.cached = whole, whole.cached
        self.shape = HeadShape(whole.shape.heads, whole.cached.dim, whole.latent, 1)

    def queries(self, x: Tokens) -> Heads:
        whole = self.whole
        q, turning = jnp.split(whole.queries(x), [whole.shape.dim - whole.rotary], axis=-1)
        q = jnp.einsum("bhtd,lhd->bhtl", q, by_head(whole.up_key, whole.shape.heads).astype(q.dtype))
        scale = (self.shape.dim / whole.shape.dim) ** 0.5
        return scale * jnp.concatenate([q, turning], axis=-1)

    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        return self.whole.keys_values(x, carry)

    def expand(self, k: Heads, v: Heads) -> tuple[Heads, Heads]:
        return k, k[..., : self.whole.latent]

    def finish(self, output: Heads) -> Heads:
        up = by_head(self.whole.up_value, self.shape.heads).astype(output.dtype)
        return jnp.einsum("bhtl,lhd->bhtd", output, up)


def by_head(linear: Linear, heads: int) -> Heads:
    """A matrix `[inputs, heads * dim]` as `[inputs, heads, dim]`."""
    kernel = linear.kernel[...]
    return kernel.reshape(kernel.shape[0], heads, -1)
