"""Normalizers whose weights depend on their own score and on how many keys the row may attend to."""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.scored.block import Block, bind, logits
from attnkit.scored.contract import Columns, Keep, Normalizer, Params, Row, Scores, Values
from attnkit.scored.implicit import in_wide_derivatives, mix, pairs_of
from attnkit.scored.key_passes import KeyPasses

Tree = Any


class ElementwiseNormalizer(Normalizer, abc.ABC):
    """Weights of each score by itself: sigmoid, ReLU. The threshold is 0, or -inf for rows without keys."""

    @abc.abstractmethod
    def weights(self, p: Params, s: Scores, count: Row) -> Scores:
        """Weights of allowed keys. `count` is the number of keys that the row may attend to, at least 1."""

    def weights_of_rows(self, p: Params, s: Scores, keep: Keep, j: Columns) -> tuple[Scores, Row]:
        count = jnp.sum(keep, axis=1)
        w = self.weights(p, jnp.where(keep, s, 0), jnp.maximum(count, 1).astype(s.dtype))
        return jnp.where(keep, w, 0), jnp.where(count > 0, 0, -jnp.inf).astype(s.dtype)

    def attend(self, passes: KeyPasses, block: Block) -> tuple[Values, Row]:
        def number(masked: bool) -> Callable[..., tuple[Row, Tree]]:
            def cell(shared: Tree, row: Tree, column: Tree, carry: Tree) -> tuple[Row, Tree]:
                keep = pairs_of(passes.variant, Block(shared, row, column), masked)
                return jnp.sum(keep, axis=1).astype(row.nonfinite.dtype), carry

            return cell

        still = jax.lax.stop_gradient(block)
        count = passes.sum_blocks(number, still.shared, still.query, still.key)

        def weigh(at: Block, masked: bool, row: Tree, carry: Tree) -> tuple[Scores, Tree]:
            keep = pairs_of(passes.variant, at, masked)
            s, carry = logits(passes.variant, at, keep, carry)
            w = self.weights(bind(at).normalizer, jnp.where(keep, s, 0), jnp.maximum(row["count"], 1))
            return jnp.where(keep, w, 0), carry

        def run(block: Block, known: Tree) -> Values:
            return mix(passes, block, weigh, known)

        output = in_wide_derivatives(run, block, {"count": count})
        return output.astype(block.key.v.dtype), jnp.where(count > 0, 0, -jnp.inf).astype(count.dtype)
