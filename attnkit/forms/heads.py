"""All heads of one sequence as blocks: prepared, cleaned, with the axes that count heads."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from attnkit.forms.shards import Shards
from attnkit.hooks import nearest
from attnkit.masks.contract import Data
from attnkit.scored.block import (
    ALL,
    EACH,
    GROUP,
    Block,
    HeadBlocks,
    KeySide,
    QuerySide,
    Shared,
    cast,
    prepare_keys,
    prepare_queries,
)
from attnkit.scored.contract import Own, PartParams, Parts, Position, Scored
from attnkit.variant import HeadShape, TokenInput

Tree = Any
Inputs = Parts[Mapping[str, Array]]


def make_heads(
    variant: Scored,
    params: Parts[Own] | None,
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    v: Float[Array, "kv_heads keys value_dim"],
    i: Int[Array, "queries"],
    j: Int[Array, "keys"],
    inputs: tuple[Inputs, Inputs],
    data: Data,
    key: jax.Array | None = None,
    exists: Array | None = None,
) -> HeadBlocks:
    """The blocks of all heads.

    Keys must be prepared already (`prepared_keys`); queries are prepared here. A query, key or value row that
    is not finite is replaced by zeros and marked: its scores become NaN where they are allowed, so a NaN is
    never lost, and never reaches a result through a masked pair.

    Args:
        variant: the parts.
        params: learned parameters, as from `variant.init`; `None` if there are none.
        q: queries.
        k: prepared keys.
        v: values.
        i: positions of the queries.
        j: positions of the keys.
        inputs: token inputs of the queries, and of the keys.
        data: run-time data.
        key: random key for dropout; `None` for no dropout.
        exists: which keys exist; `None` for all.
    """
    if variant.mixes_heads() and q.shape[0] != k.shape[0]:
        k, v = (jnp.repeat(a, q.shape[0] // a.shape[0], axis=0) for a in (k, v))
    shape = HeadShape(q.shape[0], q.shape[2], v.shape[2], k.shape[0])
    wide = jnp.promote_types(q.dtype, jnp.float32)
    constants = jax.tree.map(lambda a: cast(jnp.asarray(a), wide), variant.constants(shape))
    own = fill_params(variant, params)
    variant.parts().map(lambda part, values: check_heads_first(part, "params", values, shape.heads), own)
    learned = jax.tree.map(lambda a: cast(jnp.asarray(a), wide), own)
    (q, bad_q), (k, bad_k), (v, bad_v) = clean(q), clean(k), clean(v)
    if any(type(part).query is not Position.query for part in variant.position):
        both = learned.map(lambda a, b: PartParams({**b, **a}, jnp.arange(shape.heads)), constants)
        prepare = jax.vmap(lambda p, rows: prepare_queries(variant, p, rows, i, data.query))
        q, bad_prepared = clean(prepare(both, q))
        bad_q = bad_q + bad_prepared
    seeds = part_seeds(variant, key, shape.heads)
    drop = head_seeds(key, shape.heads) if key is not None and variant.dropout else None
    arrays = jax.tree.map(jnp.asarray, (data.query, data.key, data.scalar))
    # One head of shared inputs, and arrays that no head owns, are the same for all.
    needs = variant.inputs(shape)
    rows, columns = (needs.map(shared_heads, side) for side in inputs)
    block = Block(
        Shared(learned, constants, jnp.arange(shape.heads), seeds, drop, arrays[2]),
        QuerySide(i, q, rows, arrays[0], bad_q),
        KeySide(j, k, v, columns, arrays[1], bad_k + bad_v, exists),
    )
    return HeadBlocks(block, head_axes(block, needs), shape)


def head_axes(block: Block, needs: Parts[Mapping[str, TokenInput]]) -> Block:
    """For each array of a block of all heads, whether its leading axis counts heads."""

    def label(tree: Tree, axis: str) -> Tree:
        return jax.tree.map(lambda a: axis, tree)

    def label_inputs(need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> dict[str, str]:
        return {name: ALL if need[name].shared else EACH for name in own}

    every = label(block, ALL)
    rows, columns = (needs.map(label_inputs, side.inputs) for side in (block.query, block.key))
    return Block(
        dataclasses.replace(label(block.shared, EACH), data=every.shared.data),
        dataclasses.replace(every.query, q=EACH, nonfinite=EACH, inputs=rows),
        dataclasses.replace(every.key, k=GROUP, v=GROUP, nonfinite=GROUP, inputs=columns),
    )


def part_seeds(variant: Scored, key: jax.Array | None, heads: int) -> Parts[Any]:
    """Random words of each part that wants some; `None` for the others, and without a key."""
    if key is None:
        return variant.parts().map(lambda part: None)
    number = iter(range(1, len(variant.parts().all()) + 1))

    def of_part(part: Any) -> Any:
        own = jax.random.fold_in(key, next(number))
        return head_seeds(own, heads) if part.random else None

    return variant.parts().map(of_part)


def shared_heads(need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> dict[str, Array]:
    """Token inputs of a part; those that all heads share without their single head."""
    return {name: a[0] if need[name].shared else a for name, a in own.items()}


def fill_params(variant: Scored, params: Parts[Own] | None) -> Parts[Own]:
    """Parameters of every part. Raises `ValueError` if there are others than the parts have places for."""
    if params is None:
        return variant.parts().map(lambda part: {})
    lengths = (len(params.position), len(params.selection))
    expected = (len(variant.position), len(variant.selection))
    if lengths != expected:
        raise ValueError(
            f"params has {lengths[0]} position parts and {lengths[1]} selections; the variant has "
            f"{expected[0]} and {expected[1]}; make it with variant.init"
        )
    return params


def check_heads_first(owner: Any, what: str, values: Own, heads: int) -> None:
    """Raise `ValueError` for an array without a leading axis of heads: tokens, say, if axes are swapped."""
    for name, a in values.items():
        if jnp.shape(a)[:1] != (heads,):
            raise ValueError(
                f"{what}: {name} of {type(owner).__name__} is {jnp.shape(a)}; expected a leading axis of "
                f"{heads} heads, as the arrays [heads, tokens, dim] have"
            )


def check_inputs(variant: Scored, inputs: Inputs | None, heads: int, tokens: Mapping[str, int]) -> None:
    """Raise `ValueError` if token inputs are not `[heads, tokens, width]`, with tokens of their side."""

    def one(part: Any, need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> None:
        for name, a in own.items():
            expected = (1 if need[name].shared else heads, tokens[need[name].side])
            if jnp.ndim(a) != 3 or jnp.shape(a)[:2] != expected:
                raise ValueError(
                    f"inputs: {name} of {type(part).__name__} is {jnp.shape(a)}; expected "
                    f"[heads, tokens, width] with {expected[0]} heads and {expected[1]} tokens"
                )

    given = named_inputs(variant, inputs)
    variant.parts().map(one, variant.inputs(HeadShape(1, 1, 1)), given)


def named_inputs(variant: Scored, raw: Inputs | None) -> Inputs:
    """Token inputs of every part.

    Raises `ValueError` if one is missing, or is there that no part declares.
    """
    none: Inputs = variant.parts().map(lambda part: {})
    given = none if raw is None else raw
    if len(given.position) != len(variant.position) or len(given.selection) != len(variant.selection):
        given = given.replace(
            position=given.position or none.position, selection=given.selection or none.selection
        )

    def one(part: Any, need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> None:
        name = type(part).__name__
        if missing := sorted(set(need) - set(own)):
            raise ValueError(
                f"inputs lacks {', '.join(missing)} of {name}; give one [heads, tokens, width] array for each"
            )
        if unread := sorted(set(own) - set(need)):
            near = "".join(nearest(other, need) for other in unread)
            raise ValueError(f"inputs has {', '.join(unread)}, which {name} does not declare{near}")

    variant.parts().map(one, variant.inputs(HeadShape(1, 1, 1)), given)
    return given


def head_seeds(key: jax.Array, heads: int) -> UInt32[Array, "heads 2"]:
    """Two random words for each head."""
    return jax.vmap(lambda head: jax.random.bits(jax.random.fold_in(key, head), (2,), "uint32"))(
        jnp.arange(heads)
    )


def clean(a: Float[Array, "heads tokens width"]) -> tuple[Array, Float[Array, "heads tokens"]]:
    """Rows that are not finite as zeros; and for each row 0 if it was finite, NaN if not.

    A sum of products with 0 says so in one pass of floating-point arithmetic.
    """
    wide = jnp.promote_types(a.dtype, jnp.float32)
    bad = jnp.sum(0 * jax.lax.stop_gradient(a).astype(wide), axis=-1)
    return jnp.where((bad == 0)[..., None], a, 0), bad


def prepared_inputs(variant: Scored, raw: Inputs | None, start: Inputs | None = None) -> Inputs:
    """Activated, and where declared summed, token inputs `[heads, tokens, width]` of every part.

    Args:
        variant: the parts.
        raw: projected inputs of consecutive tokens.
        start: running sums before the first of these tokens, `[heads, width]`; zero if not given.

    Raises:
        ValueError: if one is missing or unknown, or one that all heads share has more than one head.
    """
    given = named_inputs(variant, raw)

    def ready(
        part: Any, need: Mapping[str, TokenInput], own: Mapping[str, Array], first: Mapping[str, Array]
    ) -> dict[str, Array]:
        name, found = type(part).__name__, {}
        for at, one in need.items():
            if one.shared and len(own[at]) != 1:
                raise ValueError(
                    f"inputs: {at} of {name} has {len(own[at])} heads; all share it: give [1, tokens, width]"
                )
            value = part.activate(at, own[at])
            if one.cumulative:
                value = jnp.cumsum(value.astype(jnp.promote_types(value.dtype, jnp.float32)), axis=1)
                value = value + first[at][:, None] if first else value
            found[at] = value
        return found

    none: Inputs = variant.parts().map(lambda part: {})
    needs = variant.inputs(HeadShape(1, 1, 1))
    return variant.parts().map(ready, needs, given, none if start is None else start)


def check_sides(variant: Scored, offset: int, equal: bool) -> None:
    """Raise `ValueError` if inputs of both sides would be needed of other tokens than those of the device."""
    needs = variant.inputs(HeadShape(1, 1, 1))

    def one(part: Any, need: Mapping[str, TokenInput]) -> None:
        both = [name for name, own in need.items() if own.side == "both"]
        if both and (offset or not equal):
            raise ValueError(
                f"{both[0]} of {type(part).__name__} belongs to queries and keys, so that on several devices "
                f"they must be the same tokens; expected as many of both, and offset = 0, not {offset}"
            )

    variant.parts().map(one, needs)


def carry_sums(variant: Scored, ready: Inputs, shards: Shards) -> Inputs:
    """Token inputs whose running sums begin with the sums over the devices before."""

    def one(need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> dict[str, Array]:
        return {name: carried(a) if need[name].cumulative else a for name, a in own.items()}

    def carried(a: Array) -> Array:
        total = a[:, -1:]
        return a + shards.scan_before(jnp.add, total, jnp.zeros_like(total))

    needs = variant.inputs(HeadShape(1, 1, 1))
    return needs.map(one, ready)


def split_inputs(variant: Scored, ready: Inputs, i: Int[Array, "queries"]) -> tuple[Inputs, Inputs]:
    """Token inputs of queries and of keys; those of both sides are taken at the queries' positions."""

    def rows(need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> dict[str, Array]:
        at = {name: a for name, a in own.items() if need[name].side != "key"}
        return {n: jnp.take(a, i, axis=1) if need[n].side == "both" else a for n, a in at.items()}

    def columns(need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> dict[str, Array]:
        return {name: a for name, a in own.items() if need[name].side != "query"}

    needs = variant.inputs(HeadShape(1, 1, 1))
    return needs.map(rows, ready), needs.map(columns, ready)


def prepared_keys(
    variant: Scored, k: Float[Array, "kv_heads keys dim"], j: Int[Array, "keys"], data: Data
) -> Array:
    """Keys of all heads as the score and the cache see them.

    A key that is not finite is prepared as zeros and comes out as NaN, so that no derivative of the
    preparation sees it.
    """
    if all(type(part).key is Position.key for part in variant.position):
        return k
    finite, bad = clean(k)
    ready = jax.vmap(lambda rows: prepare_keys(variant, rows, j, data.key))(finite)
    return jnp.where(jnp.isnan(bad)[..., None], jnp.nan, ready)
