"""A block of one head's attention: rows of queries, columns of keys; and the order in which parts act on it.

A loop over blocks cuts `Block.query` along queries and `Block.key` along keys; `Block.shared` is the same
for all blocks. All of a head is a block, too.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from attnkit.masks.contract import Data, check_answer
from attnkit.masks.counters import scramble
from attnkit.scored.contract import (
    HEADS,
    Keep,
    Own,
    PartParams,
    Parts,
    Position,
    Row,
    Scored,
    Scores,
    Selection,
    Values,
)
from attnkit.scored.domain import OF_SCORES, OF_TOKENS, expect_pairs, on_allowed
from attnkit.variant import HeadShape

Inputs = Parts[Mapping[str, Array]]
Tree = Any
Result = TypeVar("Result")
EACH, GROUP, ALL = "each", "group", "all"  # an axis of heads, of key-value heads, or none


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuerySide:
    """Arrays along queries.

    Attributes:
        i: absolute positions.
        q: queries as the score sees them; rows that were not finite are zeros.
        inputs: token inputs of each part.
        data: run-time data.
        nonfinite: 0, or NaN where the query was not finite. Its type is that in which scores are computed.
        stats: row statistics of each selection, once they are known.
    """

    i: Any
    q: Any
    inputs: Inputs
    data: Own
    nonfinite: Any
    stats: Any = ()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeySide:
    """Arrays along keys.

    Attributes:
        j: absolute positions.
        k: keys as the score sees them; rows that were not finite are zeros.
        v: values, likewise.
        inputs: token inputs of each part.
        data: run-time data.
        nonfinite: 0, or NaN where the key or the value was not finite.
        exists: which keys exist; `None` if all do.
    """

    j: Any
    k: Any
    v: Any
    inputs: Inputs
    data: Own
    nonfinite: Any
    exists: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shared:
    """Arrays of the head.

    Attributes:
        params: learned parameters of each part.
        constants: fixed numbers of each part.
        head: its index.
        seeds: random words of each part, `None` without.
        dropout_seed: random words of dropout; `None` for no dropout.
        data: run-time data of the whole sequence.
    """

    params: Parts[Own]
    constants: Parts[Own]
    head: Any
    seeds: Parts[Any]
    dropout_seed: Any
    data: Own


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Block:
    """Queries and keys that meet."""

    shared: Shared
    query: QuerySide
    key: KeySide


@dataclasses.dataclass(frozen=True)
class HeadBlocks:
    """The block of every head.

    Attributes:
        block: arrays of all heads.
        axes: for each array, whether its leading axis counts heads, key-value heads, or neither.
        shape: heads and widths.
    """

    block: Block
    axes: Block
    shape: HeadShape

    def run(self, function: Callable[..., Result], *more: Float[Array, "heads ..."]) -> Result:
        """`function` of every head's block, and of `more`; results stacked on a leading axis of `heads`."""
        leaves, tree = jax.tree.flatten((self.block, *more))
        axes, heads, groups = jax.tree.leaves(self.axes), self.shape.heads, self.shape.kv_heads
        axes += [EACH] * len(more)

        def over(*mapped: str) -> Any:
            return jax.tree.unflatten(tree, [0 if axis in mapped else None for axis in axes])

        if heads == groups:
            return jax.vmap(function, in_axes=over(EACH, GROUP), axis_name=HEADS)(self.block, *more)
        grouped = [
            a.reshape(groups, heads // groups, *a.shape[1:]) if axis == EACH else a
            for a, axis in zip(leaves, axes, strict=True)
        ]
        of_group = jax.vmap(function, in_axes=over(EACH))
        parts = jax.vmap(of_group, in_axes=over(EACH, GROUP))(*jax.tree.unflatten(tree, grouped))
        result: Result = jax.tree.map(lambda a: a.reshape(heads, *a.shape[2:]), parts)
        return result


def bind(block: Block) -> Parts[PartParams]:
    """Every part's `PartParams` of a block."""
    shared, query, key = block.shared, block.query, block.key
    data = Data(query=query.data, key=key.data, scalar=shared.data, head=shared.head)

    def of_part(params: Own, constants: Own, seed: Any, at_query: Own, at_key: Own) -> PartParams:
        return PartParams({**constants, **params}, shared.head, seed, at_query, at_key, data)

    return shared.params.map(of_part, shared.constants, shared.seeds, query.inputs, key.inputs)


def logits(
    variant: Scored, block: Block, keep: Any = None, carry: tuple[Any, ...] = ()
) -> tuple[Scores, tuple[Any, ...]]:
    """Capped scores of a block, and the carry of `scan_keys` of each position part.

    NaN where a query, key or value was not finite. The one place where the order is fixed.

    Args:
        variant: its parts.
        block: queries and keys.
        keep: pairs that may attend, `None` for all; others have finite scores that mean nothing.
        carry: of all later keys, as from `initial_carry`; empty if no part is sequential.
    """
    p, q, k, i, j = bind(block), block.query.q, block.key.k, block.query.i, block.key.j
    pairs, score, normalizer = (len(i), len(j)), variant.score, variant.normalizer
    s = on_allowed(score.score, keep, OF_TOKENS)(p.score, q, k, i, j)
    s = expect_pairs(score.score, s, pairs)
    for part, own in zip(variant.position, p.position, strict=True):
        bias = on_allowed(part.bias, keep, OF_TOKENS)(own, q, k, i, j)
        s = s if bias is None else s + expect_pairs(part.bias, bias, pairs)
    for part, own in zip(variant.position, p.position, strict=True):
        s = on_allowed(part.transform_logits, keep, OF_SCORES)(own, s, i, j)
        s = expect_pairs(part.transform_logits, s, pairs)
    reached = []
    for part, own, state in zip(variant.position, p.position, carry, strict=False):
        if part.is_sequential():
            s, state = part.scan_keys(own, q, k, s, keep, i, j, state)
        reached.append(state)
    if variant.cap is not None:
        s = variant.cap * jnp.tanh(s / variant.cap)
    s = on_allowed(normalizer.transform_capped_logits, keep, OF_SCORES)(p.normalizer, s, i, j)
    s = expect_pairs(normalizer.transform_capped_logits, s, pairs)
    return s.astype(block.query.nonfinite.dtype) + nonfinite_pairs(block), tuple(reached)


def initial_carry(variant: Scored, block: Block) -> tuple[Any, ...]:
    """Carry before the last key is visited; empty if no part is sequential."""
    if not variant.is_sequential():
        return ()
    parts = zip(variant.position, bind(block).position, strict=True)
    return tuple(part.initial_carry(p, block.query.q) if part.is_sequential() else () for part, p in parts)


def nonfinite_pairs(block: Block) -> Float[Array, "queries keys"]:
    """0, or NaN where a query, key or value was not finite."""
    pairs: Array = block.query.nonfinite[:, None] + block.key.nonfinite[None, :]
    return pairs


def masked_pairs(variant: Scored, block: Block) -> Keep:
    """Pairs that the mask allows, of keys that exist."""
    query, key = block.query, block.key
    along_query = {name: a[:, None] for name, a in query.data.items()}
    along_key = {name: a[None, :] for name, a in key.data.items()}
    data = Data(query=along_query, key=along_key, scalar=block.shared.data, head=block.shared.head)
    keep = variant.mask.allows(query.i[:, None], key.j[None, :], data)
    check_answer(variant.mask, keep, query.i.shape[0], key.j.shape[0])
    keep = jnp.broadcast_to(keep, (query.i.shape[0], key.j.shape[0]))
    return keep if key.exists is None else keep & key.exists[None, :]


def allowed_pairs(variant: Scored, block: Block) -> Keep:
    """Pairs that the mask allows and that every selection whose statistics are known keeps."""
    keep = masked_pairs(variant, block)
    if not variant.selects():
        return keep
    p, q, k = jax.lax.stop_gradient((bind(block), block.query.q, block.key.k))
    given = (q, k, block.query.i, block.key.j)
    positions = zip(variant.position, p.position, strict=True)
    selected = [part.select(own, *given, ()) for part, own in positions if isinstance(part, Selection)]
    known = zip(variant.selection, p.selection, block.query.stats, strict=False)
    selected += [part.select(own, *given, stats) for part, own, stats in known]
    if not selected:
        return keep
    # A score that is not finite cannot be compared, and must not get lost.
    return keep & (functools.reduce(operator.and_, selected) | jnp.isnan(nonfinite_pairs(block)))


def mix_values(variant: Scored, block: Block, w: Scores) -> Values:
    """Weighted values of a block after dropout, accumulated in at least float32."""
    i, j, v = block.query.i, block.key.j, block.key.v
    if block.shared.dropout_seed is not None:
        kept = survives(block.shared.dropout_seed, variant.dropout, i, j)
        w = jnp.where(kept, w / (1 - variant.dropout), 0)
    parts = list(zip(variant.position, bind(block).position, strict=True))
    for part, own in parts:
        w = part.transform_weights(own, w, block.query.q, i, j)
    wide = jnp.promote_types(v.dtype, jnp.float32)
    o = jax.lax.dot_general(w.astype(v.dtype), v, (((1,), (0,)), ((), ())), preferred_element_type=wide)
    for part, own in parts:
        more = part.value(own, w, i, j)
        o = o if more is None else o + more
    return o


def survives(
    seed: UInt32[Array, "2"], rate: float, i: Int[Array, "queries"], j: Int[Array, "keys"]
) -> Bool[Array, "queries keys"]:
    """Whether dropout leaves the weight of query position `i` and key position `j`; each with `1 - rate`.

    By counters: which weight is dropped is a function of (key, head, i, j), not of the form.
    """
    rows = scramble(i.astype(jnp.uint32) * jnp.uint32(0x9E3779B9) + seed[0])
    columns = scramble(j.astype(jnp.uint32) * jnp.uint32(0x85EBCA77) + seed[1])
    word = scramble(rows[:, None] ^ columns[None, :])
    keep: Array = word >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
    return keep


def widen(block: Block) -> Block:
    """The block with floating arrays of at least the type that scores are computed in."""
    wide = block.query.nonfinite.dtype
    widened: Block = jax.tree.map(lambda a: cast(a, jnp.promote_types(a.dtype, wide)), block)
    return widened


def cast(a: jax.Array, dtype: Any) -> jax.Array:
    """Floating arrays in another type; others unchanged."""
    return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a


def zero_rows(block: Block) -> Row:
    """A zero for each query, of the type to compute in."""
    return jnp.zeros_like(block.query.nonfinite)


def prepare_queries(variant: Scored, p: Parts[PartParams], q: Array, i: Array, data: Own) -> Array:
    """Queries as the score sees them, from `[queries, dim]`."""
    for part, own in zip(variant.position, p.position, strict=True):
        q = part.query(own, q, _position_ids(part, i, data, part.needs().query))
    return q


def prepare_keys(variant: Scored, k: Array, j: Array, data: Own) -> Array:
    """Keys as the score and the cache see them, from `[keys, dim]`."""
    for part in variant.position:
        k = part.key(k, _position_ids(part, j, data, part.needs().key))
    return k


def _position_ids(part: Position, positions: Array, data: Own, names: frozenset[str]) -> Array:
    return part.position_ids(positions, {name: data[name] for name in sorted(names)})
