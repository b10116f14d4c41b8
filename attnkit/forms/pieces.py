"""Attention over pieces of the keys that a caller holds: split caches, keys on other devices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.attend import AttentionOutput, Params, check
from attnkit.forms.heads import fill_params, make_heads, prepared_inputs, prepared_keys, split_inputs
from attnkit.forms.scored import split
from attnkit.forms.sizes import Sizes
from attnkit.masks.contract import Data
from attnkit.scored.contract import PartParams, Scored
from attnkit.scored.exponential import Partial, finish, merge


def attend_piece(
    variant: Scored,
    params: Params,
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    v: Float[Array, "kv_heads keys value_dim"],
    *,
    first: int = 0,
    offset: int = 0,
    data: Data | None = None,
    block: tuple[int, int] | None = None,
) -> Partial:
    """Partial result of all queries over the keys at positions `first, first + 1, ...`.

    Args:
        variant: the parts; the normalizer must be exponential, and none may need token inputs.
        params: learned parameters.
        q: queries.
        k: the keys of this piece.
        v: their values.
        first: position of the first key of the piece.
        offset: position of the first query.
        data: run-time data of the mask, for these queries and these keys.
        block: queries and keys of a block, instead of the default choice.

    Returns:
        One partial result per head and query; join them with `merge_pieces`, in any order.

    Raises:
        ValueError: if partial results of this variant cannot be merged.
    """
    data, sizes = data or Data(), Sizes(q.shape[1], k.shape[1], offset, block)
    if reason := split.supports(variant, sizes, jax.default_backend()):
        raise ValueError(reason)
    check(variant, q, k, v, data)
    i, j = offset + jnp.arange(q.shape[1]), first + jnp.arange(k.shape[1])
    sides = split_inputs(variant, prepared_inputs(variant, None), i)
    heads = make_heads(variant, params, q, prepared_keys(variant, k, j, data), v, i, j, sides, data)
    state: Partial = heads.run(lambda one: split.attend_piece(variant, one, sizes, first))
    return state


def merge_pieces(a: Partial, b: Partial) -> Partial:
    """Partial result over the keys of both pieces, which must be disjoint."""
    return jax.vmap(merge)(a, b)


def finish_pieces(variant: Scored, params: Params, state: Partial) -> AttentionOutput:
    """Output (in the type computed in) and log-sum-exp of a partial result over all keys."""
    own = dict(fill_params(variant, params).normalizer)

    def one(values: dict[str, Array], state: Partial) -> tuple[Array, Array]:
        return finish(variant.normalizer.rest(PartParams(values)), state)  # type: ignore[attr-defined]

    return AttentionOutput(*jax.vmap(one)(own, state))
