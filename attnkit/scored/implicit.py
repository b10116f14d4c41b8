"""Normalizers that must know a threshold of the whole row first: passes for that, then one for the values.

The threshold `t` is defined implicitly, `sum_j shares(s_j, t) + outside(t) = 1`, so its derivative is

    d t = -(sum_j d shares_j at a fixed t + d outside) / (sum_j d shares_j/dt + d outside/dt)

and the values are a plain sum over blocks, which differentiates itself. In low precision derivatives are
computed in float32, from inputs as they are.

Where scores depend on later keys (a position part with `scan_keys`), all passes go from the last block of
keys to the first and carry what is known of the later ones.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.scored.block import (
    Block,
    allowed_pairs,
    bind,
    cast,
    initial_carry,
    logits,
    mix_values,
    nonfinite_pairs,
    widen,
    zero_rows,
)
from attnkit.scored.contract import Columns, Keep, Normalizer, Params, Row, Scores, Values
from attnkit.scored.key_passes import FoldKeys, KeyPasses
from attnkit.scored.partition import combine, partition, select

Tree = Any
#: `weights` or `shares` of a normalizer.
Hook = Callable[[Params, Scores, Row, Any, Columns], Scores]
NEWTON_STEPS = 2


class ImplicitNormalizer(Normalizer, abc.ABC):
    """Weights that depend on their own score and one threshold per row.

    The threshold is defined by `sum_j shares(s_j, threshold) + outside(threshold) = 1`, which is also what
    its derivative is computed from (implicit function theorem), so a subclass writes no derivative. The
    shares, which are the weights by default, must sum to 1 with what is outside.
    """

    @abc.abstractmethod
    def threshold(self, p: Params, fold_keys: FoldKeys, empty: Row) -> tuple[Row, Any]:
        """The threshold of each row, and other statistics of the row that carry no derivative.

        Args:
            p: own constants and parameters.
            fold_keys: folds `step(state, p, s, keep, j)` over the row's blocks of keys, in any order.
            empty: zeros, one for each row, of the type to compute in.

        Rows without allowed keys must get -inf.
        """

    @abc.abstractmethod
    def weights(self, p: Params, s: Scores, threshold: Row, stats: Any, j: Columns) -> Scores:
        """Weights of allowed keys; those of other keys do not matter but must be finite."""

    def shares(self, p: Params, s: Scores, threshold: Row, stats: Any, j: Columns) -> Scores:
        """Parts of each row's total of 1 that its keys account for."""
        return self.weights(p, s, threshold, stats, j)

    def outside(self, p: Params, threshold: Row) -> Row:
        """The part of each row's total of 1 that goes to no key."""
        return jnp.zeros_like(threshold)

    def weights_of_rows(self, p: Params, s: Scores, keep: Keep, j: Columns) -> tuple[Scores, Row]:
        """Definition: Newton's method from the threshold that was found has the solution's derivatives."""
        still, fixed = jax.lax.stop_gradient((p, s))

        def fold_keys(step: Callable[..., Any], start: Any) -> Any:
            return step(start, still, fixed, keep, j)

        found, stats = jax.lax.stop_gradient(self.threshold(still, fold_keys, jnp.zeros_like(s[:, 0])))
        some = found > -jnp.inf

        def of_keys(hook: Hook, t: Row) -> Scores:
            return jnp.where(keep, hook(p, jnp.where(keep, s, t[:, None]), t, stats, j), 0)

        def excess(t: Row) -> Row:
            return jnp.sum(of_keys(self.shares, t), axis=1) + self.outside(p, t) - 1

        t = finite(found)
        for _ in range(NEWTON_STEPS):
            over, slope = jax.jvp(excess, (t,), (jnp.ones_like(t),))
            over = over - jax.lax.stop_gradient(over)  # it is zero but for rounding
            usable = some & (slope != 0)
            t = t - jnp.where(usable, over / jnp.where(usable, slope, 1), 0)
        return of_keys(self.weights, t), jnp.where(some, t, -jnp.inf)

    def attend(self, passes: KeyPasses, block: Block) -> tuple[Values, Row]:
        def weigh(at: Block, masked: bool, row: Tree, carry: Tree) -> tuple[Scores, Tree]:
            return _of_pairs(self.weights, passes, at, masked, row["threshold"], row["stats"], carry)

        def run(block: Block, known: Tree) -> tuple[Values, Row]:
            threshold = _threshold(passes, block, known)
            return mix(passes, block, weigh, {**known, "threshold": threshold}), threshold

        output, threshold = in_wide_derivatives(run, block, _find_threshold(passes, block))
        return output.astype(block.key.v.dtype), threshold


def finite(threshold: Row) -> Row:
    """The threshold with -inf (an empty row) replaced by 0, so that differences stay finite."""
    return jnp.where(threshold > -jnp.inf, threshold, 0)


def pairs_of(variant: Any, block: Block, masked: bool) -> Keep:
    """Pairs of a block that may attend; without `masked`, all."""
    shape = block.query.i.shape + block.key.j.shape
    return allowed_pairs(variant, block) if masked else jnp.ones(shape, bool)


def first_carry(variant: Any, shared: Tree, query: Tree, columns: Tree) -> tuple[Any, ...]:
    """Carry of `scan_keys` before any key is visited, for a block of rows."""
    return initial_carry(variant, Block(shared, query, no_rows(columns)))


def no_rows(columns: Tree) -> Tree:
    """Arrays without rows, of the types of `columns`."""
    return jax.tree.map(lambda a: jnp.zeros((0, *a.shape[1:]), a.dtype), columns)


def mix(
    passes: KeyPasses,
    block: Block,
    weigh: Callable[[Block, bool, Tree, Tree], tuple[Scores, Tree]],
    known: Tree,
) -> Values:
    """Weighted values of each row, in the type that is computed in.

    `weigh(block, masked, known, carry)` gives the weights of a block, and the carry for the keys before;
    `known` holds arrays along rows.
    """
    width = block.key.v.shape[1]

    def start(shared: Tree, row: Tree) -> tuple[Values, Tree]:
        empty = jnp.zeros_like(row[0].nonfinite)
        total = jnp.zeros((empty.shape[0], width), empty.dtype)
        return total, first_carry(passes.variant, shared, row[0], block.key)

    def cell(masked: bool) -> Callable[..., tuple[Values, Tree]]:
        def of_block(shared: Tree, row: Tree, column: Tree, carry: Tree) -> tuple[Values, Tree]:
            at = Block(shared, row[0], column)
            w, carry = weigh(at, masked, row[1], carry)
            return mix_values(passes.variant, at, w), carry

        return of_block

    return passes.sum_blocks(cell, block.shared, (block.query, known), block.key, start=start)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def in_wide_derivatives(run: Callable[[Block, Tree], Tree], block: Block, known: Tree) -> Tree:
    """`run(block, known)`, with the derivative that it has in at least float32."""
    return run(block, known)


@functools.partial(in_wide_derivatives.defjvp, symbolic_zeros=True)
def _in_wide_derivatives_jvp(
    run: Callable[[Block, Tree], tuple[Values, Tree]], primals: Tree, tangents: Tree
) -> tuple[Tree, Tree]:
    """The derivative of the widened block."""
    change, wide_type = partition(tangents), primals[0].query.nonfinite.dtype
    wide_change = jax.tree.map(lambda t: cast(t, jnp.promote_types(t.dtype, wide_type)), change)
    block, known = primals
    wide = (widen(block), known)

    def moved(moving: Tree) -> Tree:
        return run(*combine(moving, wide))

    found, pushed = jax.jvp(moved, (select(wide_change, wide),), (wide_change,))
    low = any(a.dtype.itemsize < 4 for a in jax.tree.leaves(block) if jnp.issubdtype(a.dtype, jnp.floating))
    if not low:
        return found, pushed
    narrow = in_wide_derivatives(run, block, known)
    return narrow, jax.tree.map(lambda t, a: t.astype(a.dtype), pushed, narrow)


def _of_pairs(
    hook: Hook, passes: KeyPasses, block: Block, masked: bool, threshold: Row, stats: Any, carry: Tree
) -> tuple[Scores, Tree]:
    """`weights` or `shares` of a block, 0 where not allowed, derivatives finite; and the next carry."""
    keep = pairs_of(passes.variant, block, masked)
    s, carry = logits(passes.variant, block, keep, carry)
    s = jnp.where(keep, s, finite(threshold)[:, None])
    w = hook(bind(block).normalizer, s, finite(threshold), stats, block.key.j)
    return jnp.where(keep, w + nonfinite_pairs(block), 0), carry


def _find_threshold(passes: KeyPasses, block: Block) -> dict[str, Any]:
    """The `threshold` of each row, and the `stats` that go with it. They carry no derivative."""
    block, variant = jax.lax.stop_gradient(block), passes.variant

    def fold_keys(step: Callable[..., Any], start: Any) -> Any:
        def begin(shared: Tree, row: Tree) -> tuple[Any, Tree]:
            return row[1], first_carry(variant, shared, row[0], block.key)

        def cell(masked: bool) -> Callable[..., tuple[Any, Tree]]:
            def of_block(state: Any, shared: Tree, row: Tree, column: Tree) -> tuple[Any, Tree]:
                at = Block(shared, row[0], column)
                keep = pairs_of(variant, at, masked)
                s, carry = logits(variant, at, keep, state[1])
                return step(state[0], bind(at).normalizer, jnp.where(keep, s, 0), keep, column.j), carry

            return of_block

        return passes.fold_rows(begin, cell, block.shared, (block.query, start), block.key)[0]

    threshold, stats = variant.normalizer.threshold(bind(block).normalizer, fold_keys, zero_rows(block))
    return jax.lax.stop_gradient({"threshold": threshold, "stats": stats})


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _threshold(passes: KeyPasses, block: Block, known: Tree) -> Row:
    """The threshold that was found, with its derivative by the block."""
    threshold: Row = known["threshold"]
    return threshold


@functools.partial(_threshold.defjvp, symbolic_zeros=True)
def _threshold_jvp(passes: KeyPasses, primals: Tree, tangents: Tree) -> tuple[Row, Row]:
    """The rule at the head of this file."""
    block, known = primals
    threshold, change = _threshold(passes, block, known), partition(tangents[0])
    known = {**known, "threshold": threshold}
    normalizer, params = passes.variant.normalizer, change.shared.params

    def outside(at: Row, moving: Tree) -> Row:
        own = bind(combine(moving, block)).normalizer
        result: Row = normalizer.outside(own, at)
        return result

    moving = dataclasses.replace(
        jax.tree.map(lambda a: None, change),
        shared=dataclasses.replace(jax.tree.map(lambda a: None, change.shared), params=params),
    )
    at, ones = finite(threshold), jnp.ones_like(threshold)
    pull_outside = jnp.zeros_like(threshold)
    if jax.tree.leaves(params):
        pull_outside = jax.jvp(lambda m: outside(at, m), (select(moving, block),), (moving,))[1]
    _, slope_outside = jax.jvp(lambda at: outside(at, block), (at,), (ones,))
    slope = _slope(passes, block, known) + slope_outside
    pull = _change_at_threshold(passes, block, change, known) + pull_outside
    usable = (threshold > -jnp.inf) & (slope != 0)
    return threshold, jnp.where(usable, -pull / jnp.where(usable, slope, 1), 0)


def _sum_of_shares(
    passes: KeyPasses, block: Block, masked: bool, known: Tree, threshold: Row, carry: Tree
) -> tuple[Row, Tree]:
    """Of every row of a block, at some threshold; and the next carry."""
    shares = passes.variant.normalizer.shares
    found, carry = _of_pairs(shares, passes, block, masked, threshold, known["stats"], carry)
    return jnp.sum(found, axis=1), carry


def _slope(passes: KeyPasses, block: Block, known: Tree) -> Row:
    """`sum_j d shares_j/dt` of every row."""

    def start(shared: Tree, row: Tree) -> tuple[Row, Tree]:
        carry = first_carry(passes.variant, shared, row[0], block.key)
        return jnp.zeros_like(row[0].nonfinite), carry

    def cell(masked: bool) -> Callable[..., tuple[Row, Tree]]:
        def of_block(shared: Tree, row: Tree, column: Tree, carry: Tree) -> tuple[Row, Tree]:
            at, known = widen(Block(shared, row[0], column)), row[1]

            def total(t: Row) -> tuple[Row, Tree]:
                return _sum_of_shares(passes, at, masked, known, t, carry)

            t = finite(known["threshold"])
            _, slope, carry = jax.jvp(total, (t,), (jnp.ones_like(t),), has_aux=True)
            return slope, carry

        return of_block

    return passes.sum_blocks(cell, block.shared, (block.query, known), block.key, start=start)


def _change_at_threshold(passes: KeyPasses, block: Block, change: Block, known: Tree) -> Row:
    """`sum_j d shares_j` of every row at a fixed threshold. The carry is a pair of it and its change."""
    wide = block.query.nonfinite.dtype
    change = jax.tree.map(lambda t: cast(t, wide), change)
    none, no_change = no_rows(block.key), no_rows(change.key)

    def pushed(act: Callable[..., Tree], at: Block, change: Block, *carry: Tree) -> Tree:
        """`act(block, carry)` and its change."""
        at = widen(at)
        values, moved = tuple(pair[0] for pair in carry), tuple(pair[1] for pair in carry)
        return jax.jvp(lambda m, *c: act(combine(m, at), *c), (select(change, at), *values), (change, *moved))

    def start(shared: Tree, row: Tree) -> tuple[Row, Tree]:
        at, change = Block(shared[0], row[0], none), Block(shared[1], row[1], no_change)
        zero = jnp.zeros_like(row[0].nonfinite)
        return zero, pushed(lambda at: initial_carry(passes.variant, at), at, change)

    def cell(masked: bool) -> Callable[..., tuple[Row, Tree]]:
        def of_block(shared: Tree, row: Tree, column: Tree, carry: Tree) -> tuple[Row, Tree]:
            (query, d_query, known), (key, d_key) = row, column
            at, change = Block(shared[0], query, key), Block(shared[1], d_query, d_key)

            def act(at: Block, carry: Tree) -> tuple[Row, Tree]:
                return _sum_of_shares(passes, at, masked, known, finite(known["threshold"]), carry)

            (_, reached), (pulled, moved) = pushed(act, at, change, carry or ((), ()))
            return pulled, (reached, moved)

        return of_block

    sides = (block.shared, change.shared), (block.query, change.query, known), (block.key, change.key)
    return passes.sum_blocks(cell, *sides, start=start)
