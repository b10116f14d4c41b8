"""Attention over pieces of the keys, merged: for split caches, and for keys that live on other devices."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.attend import Attended, arrays, check, split_inputs
from attnkit.forms.blocks import padded
from attnkit.forms.plan import make_plan
from attnkit.forms.problem import make_heads, prepare_inputs, prepare_keys
from attnkit.forms.stream import exponential, partial
from attnkit.masks.contract import Data, Needs
from attnkit.scored.contract import Params, Scored
from attnkit.scored.normalize import Competing, Exponential, Partial, finish, merge


def attend_piece(
    scored: Scored,
    params: Mapping[str, Params],
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    v: Float[Array, "kv_heads keys value_dim"],
    *,
    first: int = 0,
    offset: int = 0,
    data: Data | None = None,
    block: tuple[int, int] | None = None,
) -> Partial:
    """The unfinished result of all queries over the keys at positions `first, first + 1, ...`.

    Args:
        scored: the variant; its normalizer must be exponential, and it must need no token inputs.
        params: its learned parameters.
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
    reason = inseparable(scored)
    if reason:
        raise ValueError(reason)
    data = arrays(data)
    check(scored, q, k, v, data, Needs())
    plan = make_plan(scored.mask, q.shape[1], k.shape[1], offset, block, first)
    i, j = offset + jnp.arange(q.shape[1]), first + jnp.arange(k.shape[1])
    sides = split_inputs(scored, prepare_inputs(scored, {}), i)
    heads = make_heads(scored, params, q, prepare_keys(scored, k, j, data), v, i, j, *sides, data, None)
    state = heads.run(lambda problem: partial(scored, plan, padded(plan, problem)))
    return Partial(*(part[:, : q.shape[1]] for part in state))


def inseparable(scored: Scored) -> str:
    """Why partial results over pieces of the keys cannot be merged; empty if they can."""
    if not isinstance(scored.normalizer, Exponential) or isinstance(scored.normalizer, Competing):
        name = type(scored.normalizer).__name__
        return f"normalizer = {name}: pieces can be merged only for exponential normalizers"
    for part in (*scored.selection, *(part for part in scored.position if part.walks or part.whole)):
        return f"{type(part).__name__}: a weight depends on other keys, so pieces cannot be merged"
    return ""


def merge_pieces(a: Partial, b: Partial) -> Partial:
    """The partial result over the keys of both pieces, which must be disjoint."""
    return jax.vmap(merge)(a, b)


def finish_pieces(scored: Scored, params: Mapping[str, Params], state: Partial) -> Attended:
    """Output (in the type computed in) and log-sum-exp of a partial result over all keys."""
    own = dict(params.get("normalizer", {}))
    return Attended(*jax.vmap(lambda p, part: finish(exponential(scored).rest(p), part))(own, state))
