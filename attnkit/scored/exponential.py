"""Exponential normalizers by blocks: one pass, nothing quadratic is kept.

The running softmax computes output and log-sum-exp together. Its derivative is another sum over blocks, given
as a forward-mode rule,

    d lse = sum_j w_j ds_j + d outside
    d o   = sum_j w_j ds_j v_j + sum_j w_j dv_j - d lse * o

with `ds` from `jax.jvp` of the score. The sum is linear in the tangents, so its transpose is the backward
pass, and forward mode, reverse mode and their compositions all exist, for every input.

In low precision the rule computes in float32, from inputs as they are and an output that was not rounded;
only what comes out at the end is rounded.

Source: Rabe & Staats 2021, arXiv 2112.05682, and Dao et al. 2022, arXiv 2205.14135, for the running softmax.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.scored.block import (
    Block,
    allowed_pairs,
    bind,
    cast,
    logits,
    mix_values,
    widen,
)
from attnkit.scored.contract import Columns, Keep, Params, Row, Rows, Scores, Values
from attnkit.scored.implicit import ImplicitNormalizer, finite
from attnkit.scored.key_passes import FoldKeys, KeyPasses
from attnkit.scored.partition import combine, partition, select

Tree = Any


class Partial(NamedTuple):
    """Softmax over some of the keys, unfinished: a commutative monoid under `merge`.

    Attributes:
        maximum: `[queries]`, largest allowed score so far, -inf for none.
        total: `[queries]`, sum of `exp(score - maximum)`.
        values: `[queries, value_dim]`, sum of `exp(score - maximum) * value`.
    """

    maximum: Row
    total: Row
    values: Values


class ExponentialNormalizer(ImplicitNormalizer, abc.ABC):
    """`w = exp(s - lse)`, with `lse = log(sum exp(s) + exp(rest))`: softmax and its kin."""

    def rest(self, p: Params) -> Float[Array, ""] | None:
        """A logit that takes its share of the total and has no value; `None` for none."""
        return None

    def threshold(self, p: Params, fold_keys: FoldKeys, empty: Row) -> tuple[Row, Any]:
        """The log-sum-exp of each row."""

        def step(state: Partial, p: Params, s: Scores, keep: Keep, j: Columns) -> Partial:
            return absorb(state, s, keep, lambda e: jnp.zeros((e.shape[0], 0), e.dtype))

        return finish(self.rest(p), fold_keys(step, no_keys(empty, 0)))[1], None

    def weights(self, p: Params, s: Scores, threshold: Row, stats: Any, j: Columns) -> Scores:
        return jnp.exp(s - finite(threshold)[:, None])

    def outside(self, p: Params, threshold: Row) -> Row:
        rest = self.rest(p)
        if rest is None:
            return jnp.zeros_like(threshold)
        return jnp.exp(rest - finite(threshold)) * (threshold > -jnp.inf)

    def weights_of_rows(self, p: Params, s: Scores, keep: Keep, j: Columns) -> tuple[Scores, Row]:
        rest, lowest = self.rest(p), jnp.full(s.shape[:1], -jnp.inf, s.dtype)
        extra = lowest if rest is None else jnp.zeros_like(lowest) + rest
        every = jnp.concatenate([jnp.where(keep, s, -jnp.inf), extra[:, None]], axis=1)
        some = jnp.any(every > -jnp.inf, axis=1) | jnp.any(jnp.isnan(every), axis=1)
        lse = jax.nn.logsumexp(jnp.where(some[:, None], every, 0), axis=1)
        # Of a masked pair the difference may overflow, and its derivative with it.
        w = jnp.exp(jnp.where(keep, s - lse[:, None], -jnp.inf))
        return w, jnp.where(some, lse, -jnp.inf)

    def attend(self, passes: KeyPasses, block: Block) -> tuple[Values, Row]:
        if self.axis == "queries":
            block = with_key_lse(passes, block)
        if passes.variant.is_sequential():
            return super().attend(passes, block)
        return softmax_pass(passes, True, block)

    def unmergeable(self) -> str | None:
        if self.axis == "keys":
            return None
        return f"normalizer = {type(self).__name__}: queries compete for keys, so pieces cannot be merged"


class QueryNormalizer(ExponentialNormalizer, abc.ABC):
    """Queries compete for each key: softmax over queries that may see it, then rows divided by sums.

    That is softmax over the keys of `s_ij - c_j`, with `c_j = log sum_i exp(s_ij)` over the queries, found in
    a pass of its own. All queries must be there, so there is no decoding.
    """

    axis = "queries"

    def transform_capped_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        return s - p.key["lse"].astype(s.dtype).T if "lse" in p.key else s

    def weights_of_rows(self, p: Params, s: Scores, keep: Keep, j: Columns) -> tuple[Scores, Row]:
        # In logarithms, so that shares of a large score do not vanish before they are divided by their sum.
        some = jnp.any(keep, axis=0)
        wanted = jax.nn.logsumexp(jnp.where(some, jnp.where(keep, s, -jnp.inf), 0), axis=0)
        return super().weights_of_rows(p, s - wanted, keep, j)


def partial_softmax(passes: KeyPasses, block: Block) -> Partial:
    """Result over the block's keys without the share of no key, to be merged with others."""
    output, lse = softmax_pass(passes, False, block)
    return Partial(lse, jnp.where(lse == -jnp.inf, 0, 1).astype(lse.dtype), output)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def softmax_pass(passes: KeyPasses, closed: bool, block: Block) -> tuple[Values, Row]:
    """Output (in the type computed in) and log-sum-exp of one head, in one pass.

    `closed` says whether the share of no key is taken.
    """
    variant, width = passes.variant, block.key.v.shape[1]

    def start(shared: Tree, query: Tree) -> Partial:
        return no_keys(jnp.zeros_like(query.nonfinite), width)

    def step(masked: bool) -> Callable[..., Partial]:
        def cell(state: Partial, *sides: Tree) -> Partial:
            at = Block(*sides)
            keep = allowed_pairs(variant, at) if masked else None
            return absorb(state, logits(variant, at, keep)[0], keep, lambda e: mix_values(variant, at, e))

        return cell

    state = passes.fold_rows(start, step, block.shared, block.query, block.key)
    return finish(_normalizer(passes).rest(bind(block).normalizer) if closed else None, state)


@functools.partial(softmax_pass.defjvp, symbolic_zeros=True)
def _softmax_pass_jvp(
    passes: KeyPasses, closed: bool, primals: tuple[Block], tangents: tuple[Block]
) -> tuple[Tree, Tree]:
    """The rule at the head of this file."""
    (block,), change = primals, partition(tangents[0])
    output, lse = softmax_pass(passes, closed, block)
    moved, d_lse = _tangent_sums(passes, block, change, lse)
    if closed:

        def outside(params: Tree) -> Row:
            moving = dataclasses.replace(block.shared, params=combine(params, block.shared.params))
            own = bind(dataclasses.replace(block, shared=moving)).normalizer
            return _normalizer(passes).outside(own, lse)

        params = change.shared.params
        if jax.tree.leaves(params):
            d_lse = d_lse + jax.jvp(outside, (select(params, block.shared.params),), (params,))[1]
    return (output, lse), (moved - d_lse[:, None] * output, d_lse)


def _tangent_sums(passes: KeyPasses, block: Block, change: Block, lse: Row) -> tuple[Values, Row]:
    """`sum_j w ds v + w dv` and `sum_j w ds` of every row."""
    variant, wide = passes.variant, lse.dtype
    change = jax.tree.map(lambda t: cast(t, wide), change)

    def cell(masked: bool) -> Callable[..., tuple[Tree, Tree]]:
        def of_block(shared: Tree, row: Tree, column: Tree, carry: Any) -> tuple[Tree, Tree]:
            (at_shared, d_shared), (at_query, d_query, lse), (at_key, d_key) = shared, row, column
            at, change = widen(Block(at_shared, at_query, at_key)), Block(d_shared, d_query, d_key)
            moving = select(change, at)
            keep = allowed_pairs(variant, at) if masked else None
            s, ds = jax.jvp(lambda m: logits(variant, combine(m, at), keep)[0], (moving,), (change,))
            seen = s if keep is None else jnp.where(keep, s, -jnp.inf)
            w = _weights(passes, seen, lse)
            pull = w * (ds if keep is None else jnp.where(keep, ds, 0))
            mix = functools.partial(_mix_moved, variant, at)
            _, moved = jax.jvp(mix, (w, moving), (pull, change))
            return (moved, jnp.sum(pull, axis=1)), carry

        return of_block

    def start(shared: Tree, row: Tree) -> tuple[Tree, Tree]:
        zero = jnp.zeros_like(row[2])
        return (jnp.zeros((zero.shape[0], block.key.v.shape[1]), wide), zero), ()

    sides = (block.shared, change.shared), (block.query, change.query, lse), (block.key, change.key)
    sums: tuple[Values, Row] = passes.sum_blocks(cell, *sides, start=start)
    return sums


def _mix_moved(variant: Any, block: Block, w: Scores, moving: Block) -> Values:
    """Weighted values of a block, some of whose arrays are those of `moving`."""
    return mix_values(variant, combine(moving, block), w)


def _weights(passes: KeyPasses, seen: Scores, lse: Row) -> Scores:
    """Weights of a block whose masked scores are -inf.

    Of a single block, the forward pass has `exp(s - maximum)` already: it is scaled here, not computed again.
    """
    if not passes.is_whole:
        return jnp.exp(seen - finite(lse)[:, None])
    top = finite(jax.lax.stop_gradient(jnp.max(seen, axis=1, initial=-jnp.inf)))
    return jnp.exp(seen - top[:, None]) * jnp.exp(top - finite(lse))[:, None]


def _normalizer(passes: KeyPasses) -> ExponentialNormalizer:
    normalizer: ExponentialNormalizer = passes.variant.normalizer
    return normalizer


def with_key_lse(passes: KeyPasses, block: Block) -> Block:
    """The block with each key's log-sum-exp over the queries, as the token input `lse` of the normalizer.

    One more pass over all blocks, that of the softmax with queries and keys exchanged.
    """
    if passes.variant.is_sequential():
        name = type(passes.variant.normalizer).__name__
        raise ValueError(f"normalizer = {name}: does not go with a position part that depends on later keys")
    queries = jnp.arange(block.query.i.shape[0]) < passes.block_mask.queries
    found = _key_lse(passes, block, queries)[:, None]
    inputs = block.key.inputs
    inputs = inputs.replace(normalizer={**inputs.normalizer, "lse": found})
    return dataclasses.replace(block, key=dataclasses.replace(block.key, inputs=inputs))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _key_lse(passes: KeyPasses, block: Block, exists: Array) -> Float[Array, "keys"]:
    """Log-sum-exp over the queries that exist; 0 for keys that none may see."""

    def start(shared: Tree, key: Tree) -> Partial:
        return no_keys(jnp.zeros_like(key.nonfinite), 0)

    def step(masked: bool) -> Callable[..., Partial]:
        def cell(state: Partial, shared: Tree, key: Tree, column: Tree) -> Partial:
            s, keep = _key_scores(passes, Block(shared, column[0], key), column[1])
            return absorb(state, s.T, keep.T, lambda e: jnp.zeros((e.shape[0], 0), e.dtype))

        return cell

    state = passes.transposed().fold_rows(start, step, block.shared, block.key, (block.query, exists))
    return finite(finish(None, state)[1])


@functools.partial(_key_lse.defjvp, symbolic_zeros=True)
def _key_lse_jvp(passes: KeyPasses, primals: Tree, tangents: Tree) -> tuple[Tree, Tree]:
    """`d c_j = sum_i exp(s_ij - c_j) ds_ij`."""
    (block, exists), lse = primals, _key_lse(passes, *primals)
    change = jax.tree.map(lambda t: cast(t, lse.dtype), partition(tangents[0]))

    def cell(masked: bool) -> Callable[..., tuple[Tree, Tree]]:
        def of_block(shared: Tree, row: Tree, column: Tree, carry: Any) -> tuple[Tree, Tree]:
            (at_shared, d_shared), (at_key, d_key, lse), (at_query, d_query, exists) = shared, row, column
            at, change = widen(Block(at_shared, at_query, at_key)), Block(d_shared, d_query, d_key)
            s, ds = jax.jvp(
                lambda m: _key_scores(passes, combine(m, at), exists)[0], (select(change, at),), (change,)
            )
            keep = _key_scores(passes, at, exists)[1]
            w = jnp.exp(jnp.where(keep, s, -jnp.inf) - lse)
            return jnp.sum(w * jnp.where(keep, ds, 0), axis=0), carry

        return of_block

    def start(shared: Tree, row: Tree) -> tuple[Tree, Tree]:
        return jnp.zeros_like(row[2]), ()

    sides = (block.shared, change.shared), (block.key, change.key, lse), (block.query, change.query, exists)
    return lse, passes.transposed().sum_blocks(cell, *sides, start=start)


def _key_scores(passes: KeyPasses, block: Block, exists: Array) -> tuple[Scores, Keep]:
    """Scores before queries compete, and which pairs of queries that exist may attend."""
    keep = allowed_pairs(passes.variant, block) & exists[:, None]
    return logits(passes.variant, block, keep)[0], keep


def no_keys(empty: Row, value_dim: int) -> Partial:
    """The identity of `merge`: no keys seen yet. `empty` gives the rows and the type."""
    return Partial(empty - jnp.inf, empty, jnp.zeros((*empty.shape, value_dim), empty.dtype))


def absorb(state: Partial, s: Scores, keep: Keep | None, mix: Callable[[Scores], Values]) -> Partial:
    """`state` after a block of keys. `mix` turns (unnormalized) weights into a sum of values."""
    seen = s if keep is None else jnp.where(keep, s, -jnp.inf)
    maximum = jnp.maximum(state.maximum, jnp.max(seen, axis=1, initial=-jnp.inf))
    e = jnp.exp(seen - finite(maximum)[:, None])
    shrink = jnp.exp(state.maximum - finite(maximum))
    return Partial(
        maximum, state.total * shrink + jnp.sum(e, axis=1), state.values * shrink[:, None] + mix(e)
    )


def merge(a: Partial, b: Partial) -> Partial:
    """Partial result of two disjoint sets of keys. Associative and commutative up to rounding.

    Raises `AssertionError` if they are not of the same queries: a single row would broadcast.
    """
    chex.assert_trees_all_equal_shapes(a, b)
    maximum = jnp.maximum(a.maximum, b.maximum)
    left, right = jnp.exp(a.maximum - finite(maximum)), jnp.exp(b.maximum - finite(maximum))
    return Partial(
        maximum,
        a.total * left + b.total * right,
        a.values * left[:, None] + b.values * right[:, None],
    )


def finish(rest: Float[Array, ""] | None, state: Partial) -> tuple[Values, Row]:
    """Output and log-sum-exp of a partial result; the extra logit `rest` joins here, once.

    Rows without keys give zeros; their log-sum-exp is -inf, or `rest` if there is one. NaN stays NaN in both.
    """
    if rest is not None:
        share = Partial(
            jnp.zeros_like(state.maximum) + rest, jnp.ones_like(state.total), jnp.zeros_like(state.values)
        )
        state = merge(state, share)
    empty = state.total == 0
    total = jnp.where(empty, 1, state.total)
    output = state.values / total[:, None]
    lse = jnp.where(empty, -jnp.inf, jnp.log(total) + finite(state.maximum))
    return output, lse
