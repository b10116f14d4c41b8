"""Row statistics: a pass over the keys for selections, before anything else."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.passes import Passes
from attnkit.scored.block import Block, KeySide, QuerySide, Shared, allowed_pairs, bind
from attnkit.scored.contract import Selection

Tree = Any


def with_statistics(passes: Passes, block: Block) -> Block:
    """The block with the row statistics of every selection, by which `allowed_pairs` tells what is kept.

    Selections do not see each other, and statistics carry no derivative.
    """
    still, count = jax.lax.stop_gradient(block), len(passes.variant.selection)
    stats = tuple(row_statistics(passes, still, n) for n in range(count))
    return dataclasses.replace(block, query=dataclasses.replace(block.query, stats=stats))


def row_statistics(passes: Passes, block: Block, number: int) -> Tree:
    """Statistics of one selection, in any order of the keys."""
    passes, variant = dataclasses.replace(passes, in_order=False), passes.variant
    own = variant.selection[number]
    hides = any(isinstance(part, Selection) for part in variant.position)
    if not (own.uses_content or variant.mask.heads() or hides):
        block = inputs_alone(block, number)

    def fold_keys(step: Callable[..., Tree], start: Tree) -> Tree:
        def cell(masked: bool) -> Callable[..., Tree]:
            def of_block(state: Tree, shared: Tree, row: Tree, key: Tree) -> Tree:
                at = Block(shared, row[0], key)
                p, keep = bind(at).selection[number], allowed_pairs(variant, at)
                return step(state, p, at.query.q, key.k, keep, at.query.i, key.j)

            return of_block

        rows = (block.query, start)
        return passes.fold_rows(lambda shared, row: row[1], cell, block.shared, rows, block.key)

    empty = jnp.zeros_like(block.query.nonfinite)
    return own.row_statistics(fold_keys, block.query.i, empty, passes.block_mask.key_count)


def inputs_alone(block: Block, number: int) -> Block:
    """The block of a selection that sees nothing but its token inputs, without what heads have apart."""
    shared, query, key = block.shared, block.query, block.key

    def only(parts: Any) -> Any:
        none = parts.map(lambda own: {})
        kept = tuple(own if n == number else {} for n, own in enumerate(parts.selection))
        return none.replace(selection=kept)

    dtype = query.nonfinite.dtype

    def empty(a: jax.Array) -> jax.Array:
        return jnp.zeros((a.shape[0], 0), dtype)

    return Block(
        Shared(
            only(shared.params),
            only(shared.constants),
            jnp.int32(0),
            shared.seeds.map(lambda seed: None),
            None,
            shared.data,
        ),
        QuerySide(query.i, empty(query.i), only(query.inputs), query.data, jnp.zeros(query.i.shape, dtype)),
        KeySide(
            key.j,
            empty(key.j),
            empty(key.j),
            only(key.inputs),
            key.data,
            jnp.zeros(key.j.shape, dtype),
            key.exists,
        ),
    )
