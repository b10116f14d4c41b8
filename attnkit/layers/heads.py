"""What an attention layer is put together from: how tokens become heads, and heads a token again."""

import abc
import dataclasses
from typing import Annotated, NamedTuple

import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.linear import Linear
from attnkit.layers.mixing import LayerTokenMixer, Relay, Width
from attnkit.masks.contract import Mask
from attnkit.masks.everything import Everything
from attnkit.masks.padding import Padding
from attnkit.options import options
from attnkit.points import point
from attnkit.scored.contract import HeadShape, Position, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.token_mixer import TokenMixer, no_cross_attention

Tokens = Float[Array, "batch tokens model_dim"]
Heads = Float[Array, "batch heads tokens dim"]
Maps = Float[Array, "batch heads queries keys"]


class Projection(nnx.Module):
    """How tokens become queries, keys and values.

    Attributes:
        shape: heads and widths as attention sees them.
        kept: heads and widths as the cache keeps them; `widen` leads from one to the other.
    """

    shape: HeadShape
    kept: HeadShape

    @abc.abstractmethod
    def queries(self, x: Tokens) -> Heads:
        """Queries of every head."""

    @abc.abstractmethod
    def keys_values(self, x: Tokens, below: Relay) -> tuple[Heads, Heads]:
        """What is kept of tokens: `[batch, kept.kv_heads, tokens, kept.dim]`, and values alike.

        Args:
            x: the tokens.
            below: what the layers below hand up.
        """

    def widen(self, k: Heads, v: Heads) -> tuple[Heads, Heads]:
        """Keys and values as attention sees them, from what is kept of tokens."""
        return k, v

    def values(self, k: Heads, v: Heads) -> Heads:
        """The values that the weights of each head multiply, from what is kept of tokens."""
        wide = self.widen(k, v)[1]
        return jnp.repeat(wide, self.shape.heads // wide.shape[1], axis=1)

    def decoding(self) -> "Projection":
        """The projection to decode with: another that gives the same results, if that costs less."""
        return self

    def finish(self, output: Heads) -> Heads:
        """The heads' outputs, from what attention made of the values that `widen` gave."""
        return output


class Asked(NamedTuple):
    """What is known of the tokens that ask.

    Attributes:
        x: their vectors.
        q: their queries, before positions.
        v: their own values as they are kept; `None` in cross-attention, where they have none.
    """

    x: Tokens
    q: Heads
    v: Heads | None


class Join(nnx.Module):
    """How the outputs of all heads become one vector for each token."""

    @abc.abstractmethod
    def __call__(self, output: Heads, asked: Asked) -> Tokens:
        """The layer's output."""

    def shown(self, weights: Maps) -> Maps:
        """What multiplies values, from the weights of attention."""
        return weights

    def found(self, output: Heads) -> Heads:
        """What each head found: the sum of its values times what is shown."""
        return output


class PlainProjection(Projection):
    """One matrix for the queries and one for keys and values together.

    Args:
        model_dim: width of a token's vector.
        shape: heads and widths.
        rngs: source of the initial values.
    """

    def __init__(self, model_dim: int, shape: HeadShape, *, rngs: nnx.Rngs) -> None:
        self.shape = self.kept = shape
        self.query = Linear(model_dim, shape.heads * shape.dim, bias=None, rngs=rngs)
        self.key_value = Linear(
            model_dim, shape.kv_heads * (shape.dim + shape.value_dim), bias=None, rngs=rngs
        )

    def queries(self, x: Tokens) -> Heads:
        return split_heads(self.query(x), self.shape.heads)

    def keys_values(self, x: Tokens, below: Relay) -> tuple[Heads, Heads]:
        both, keys = self.key_value(x), self.shape.kv_heads * self.shape.dim
        k, v = both[..., :keys], both[..., keys:]
        return split_heads(k, self.shape.kv_heads), split_heads(v, self.shape.kv_heads)


class Concatenate(Join):
    """The outputs of all heads side by side, times a matrix.

    Args:
        model_dim: width of a token's vector.
        width: width of all heads' outputs together.
        scale: initial scale of the output.
        rngs: source of the initial values.
    """

    def __init__(self, model_dim: int, width: int, *, scale: float, rngs: nnx.Rngs) -> None:
        self.output = Linear(width, model_dim, bias=None, scale=scale, rngs=rngs)

    def __call__(self, output: Heads, asked: Asked) -> Tokens:
        return self.output(merge_heads(point("head_output", output)))


@options
class HeadTokenMixer(LayerTokenMixer, abc.ABC):
    """Scaled dot-product attention whose heads are made or joined in a way of their own.

    Attributes:
        position: position encodings and other additions, applied in order.
        mask: who may look at whom.
        cap: soft cap of the scores, `None` for none.
        dropout: probability with which a weight is dropped during training.
    """

    position: tuple[Position, ...] = ()
    mask: Mask = Everything()
    cap: Annotated[float, Gt(0)] | None = None
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def scored(self) -> Scored:
        """What each head computes."""
        return Scored(
            score=Dot(),
            normalizer=Softmax(),
            position=self.position,
            mask=self.mask,
            cap=self.cap,
            dropout=self.dropout,
        )

    def receptive_field(self) -> Mask:
        return self.mask


def split_heads(x: Tokens, heads: int) -> Heads:
    """Consecutive pieces of each token's vector, one for each head."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Heads) -> Tokens:
    """The heads' vectors of each token side by side."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def plain_shape(width: Width) -> HeadShape:
    """Heads whose queries, keys and values are of one width."""
    return HeadShape(width.heads, width.kv_heads, width.head_dim, width.head_dim)


def fitted(mixer: TokenMixer, scored: Scored, width: Width, *, cross: bool, padded: bool) -> Scored:
    """What each head computes in a layer: with `padded`, keys that do not exist are masked.

    Raises `ValueError` if with `cross` a token input belongs to queries: they are not the tokens remembered.
    """
    if cross:
        mixer.check_cross_attention()
        for name, need in scored.inputs(plain_shape(width)).items():
            if need.side != "key":
                raise ValueError(no_cross_attention(mixer, f"its input {name} belongs to queries"))
    if padded and "length" not in scored.mask.needs().scalar:
        return dataclasses.replace(scored, mask=scored.mask & Padding())
    return scored
