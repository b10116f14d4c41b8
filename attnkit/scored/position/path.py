"""Position encoding by accumulated Householder transformations."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keep, Keys, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Path(Position):
    """On the way from the query back to a key, every token between them reflects (or shrinks) a direction.

    Adds what the transformations change in `q . k / sqrt(dim)`, the score of `Dot`. The query's own token
    transforms, the key's does not. Tokens that the mask hides from the query do not transform. The paper
    makes directions with a low-rank projection and a short convolution, which are the layer's business.

    Keys are visited one by one, so a block takes as many steps as it has keys, and its backward pass keeps a
    vector for each of its pairs.

    Attributes:
        start: initial bias of the projection to `strength`.
    """

    card: ClassVar[Card] = Card(
        source="Yang et al. 2025 (PaTH), arXiv 2505.16381",
        equation="s_ij = k_j^T (prod_{l=j+1..i} (I - b_l w_l w_l^T)) q_i / sqrt(dim), b = 2 sigmoid, |w| = 1",
        pair_flops="8 * dim",
        assumes="causal self-attention, score = dot",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    start: float = 0.0

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"direction": TokenInput(shape.dim, bias=0.0), "strength": TokenInput(bias=self.start)}

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        wide = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
        good = jnp.all(jnp.isfinite(wide), axis=-1, keepdims=True)
        wide = jnp.where(good, wide, 0)
        if name == "strength":
            return jnp.where(good, 2 * jax.nn.sigmoid(wide), jnp.nan)
        length = jnp.sqrt(jnp.sum(jnp.square(wide), axis=-1, keepdims=True) + 1e-12)
        return jnp.where(good, wide / length, jnp.nan)

    def initial_carry(self, p: Params, q: Queries) -> Queries:
        return jnp.zeros_like(q, jnp.promote_types(q.dtype, jnp.float32))

    def scan_keys(
        self, p: Params, q: Queries, k: Keys, s: Scores, keep: Keep, i: Rows, j: Columns, carry: Queries
    ) -> tuple[Scores, Queries]:
        wide = carry.dtype
        q, k = q.astype(wide), k.astype(wide)
        w, b = p.key["direction"].astype(wide), p.key["strength"][:, 0].astype(wide)
        good = jnp.isfinite(b) & jnp.all(jnp.isfinite(w), axis=1)
        w, b = jnp.where(good[:, None], w, 0), jnp.where(good, b, 0)

        def one(change: Queries, token: tuple[Array, ...]) -> tuple[Queries, Array]:
            k, w, b, good, seen = token
            along = jnp.where(seen, b * ((q + change) @ w), 0) + jnp.where(seen & ~good, jnp.nan, 0)
            return change - along[:, None] * w, change @ k

        change, extra = jax.lax.scan(one, carry, (k, w, b, good, keep.T), reverse=True)
        return s + extra.T * q.shape[1] ** -0.5, change
