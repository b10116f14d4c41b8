"""Routing attention: attention inside clusters of tokens, and what moves the centroids."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.attention import AttentionLayer, AttentionTokenMixer
from attnkit.layers.contract import Carry, TokenMixerLayer, Width
from attnkit.layers.heads import Heads, InputProjection, Tokens, fitted, split_heads
from attnkit.layers.linear import Linear
from attnkit.layers.norm import EPSILON, standardize
from attnkit.masks.contract import Data
from attnkit.option_class import options
from attnkit.scored.block import prepare_keys
from attnkit.scored.contract import Scored
from attnkit.scored.selection.routing import Routing, cluster
from attnkit.variant import Card, HeadShape


@options
class RoutingAttention(AttentionTokenMixer):
    """Each query attends to the keys of its cluster; keys are the queries, normalized over a head's features.

    Centroids are parameters that only a penalty moves: with `x` a key and `mu` its centroid, the mean over
    heads, tokens and features of `(stop(x) - mu)^2 + commitment (x - stop(mu))^2`. That is the loss of the
    authors' code with `ema=False`. Their default has the second term alone, and centroids that are the moving
    average of the sums of a cluster's keys over that of their number: a step of gradient descent on the first
    term goes towards the same mean, with a rate that the optimizer sets and that grows with the cluster. The
    averages would be a state that no gradient makes, and layers here have none in training. A network adds
    the penalty to its objective.

    Keys of other clusters are computed and then hidden, and the clusters are not made equally large; see
    `routing`, the selection.

    Attributes:
        clusters: centroids of each head.
        commitment: factor of the term that draws tokens to their centroid; `beta` of the authors' code.
    """

    card: ClassVar[Card] = Card(
        source="Roy et al. 2020 (Routing Transformer), arXiv 2003.05997, by the authors' code "
        "(google-research/routing_transformer) with shared queries and keys",
        equation="o_i = sum_{j: m(q_j) = m(q_i)} softmax_j(q_i . q_j / sqrt(dim)) v_j, "
        "m(q) = argmax_c q . mu_c, q = norm(W x)",
        pair_flops="1",
        token_flops="4 * heads * head_dim * clusters - 2 * model_dim * kv_heads * head_dim",
        cache="2 * heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="a network that adds the penalty to its objective, as all here do",
    )
    checked_with: ClassVar[dict[str, int]] = {"clusters": 2}
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "its keys are its queries"}
    unclaimed: ClassVar[dict[str, str]] = {
        "gradients": "the centroids have no part in the output's gradient; they are moved by the penalty, "
        "which has a test of its own"
    }
    clusters: Annotated[int, Ge(1)] = 16
    commitment: Annotated[float, Ge(0)] = 1e-4

    def scored(self) -> Scored:
        return dataclasses.replace(super().scored(), selection=(Routing(clusters=self.clusters),))

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        return SharedProjection(width, rngs=rngs)

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        project, output = self.make_input(width, rngs), self.make_output(width, scale, rngs)
        return RoutingLayer(self.commitment, scored, project, output, width.model_dim, rngs=rngs)


class SharedProjection(InputProjection):
    """Queries, normalized over each head's features, which are the keys as well; and values.

    Every head has keys of its own; a group of heads that `kv_heads` makes shares values.

    Args:
        width: sizes.
        rngs: source of the initial values.
    """

    def __init__(self, width: Width, *, rngs: nnx.Rngs) -> None:
        self.shape = self.cached = HeadShape(width.heads, width.head_dim, width.head_dim)
        self.groups = width.kv_heads
        self.query = Linear(width.model_dim, width.heads * width.head_dim, bias=None, rngs=rngs)
        self.value = Linear(width.model_dim, width.kv_heads * width.head_dim, bias=None, rngs=rngs)

    def queries(self, x: Tokens) -> Heads:
        q = split_heads(self.query(x), self.shape.heads)
        return standardize(q.astype(jnp.promote_types(q.dtype, jnp.float32)), EPSILON).astype(x.dtype)

    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        v = split_heads(self.value(x), self.groups)
        return self.queries(x), jnp.repeat(v, self.shape.heads // self.groups, axis=1)


class RoutingLayer(AttentionLayer):
    """The layer of `RoutingAttention`. It hands up `penalty [batch]`, added to that of the layers below."""

    def __init__(self, commitment: float, *given: Any, rngs: nnx.Rngs) -> None:
        super().__init__(*given, rngs=rngs)
        self.commitment = commitment

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
        return y, {**above, "penalty": carry.get("penalty", 0.0) + self.spread(x, data or Data())}

    def spread(self, x: Tokens, data: Data) -> Float[Array, "batch"]:
        """The penalty: squared distances of keys and centroids, mean over the tokens that exist."""
        wide, places = jnp.promote_types(x.dtype, jnp.float32), jnp.arange(x.shape[1])
        centroid = self.engine.learned().selection[0]["centroid"].astype(wide)

        def one(k: Array, mu: Array, own: Data) -> Array:
            k = prepare_keys(self.scored, k, places, own.key).astype(wide)
            near = mu[cluster(mu, k)]
            moved = jnp.square(jax.lax.stop_gradient(k) - near)
            drawn = jnp.square(k - jax.lax.stop_gradient(near))
            return jnp.mean(moved + self.commitment * drawn, axis=1)

        of_heads = jax.vmap(one, (0, 0, None))
        each = jax.vmap(of_heads, (0, None, 0))(self.project.queries(x), centroid, self.engine.own(data))
        each = jnp.mean(each, axis=1)
        if "length" not in data.scalar:
            return jnp.mean(each, axis=1)
        real = places < data.scalar["length"][:, None]
        return jnp.sum(jnp.where(real, each, 0), axis=1) / jnp.maximum(real.sum(axis=1), 1)
