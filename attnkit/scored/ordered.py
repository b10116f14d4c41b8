"""Normalizers whose weights depend on the scores of later keys; blocks go from the last key to the first."""

import abc
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from attnkit.scored.block import Block, allowed_pairs, bind, logits, mix_values
from attnkit.scored.contract import Columns, Keep, Normalizer, Params, Row, Scores, Values
from attnkit.scored.implicit import first_carry, in_wide_derivatives
from attnkit.scored.key_passes import KeyPasses

Tree = Any


class OrderedNormalizer(Normalizer, abc.ABC):
    """Weights by a scan from the last key to the first. The threshold is 0, or -inf for rows without keys."""

    @abc.abstractmethod
    def scan_weights(self, p: Params, s: Scores, keep: Keep, carry: Row) -> tuple[Scores, Row]:
        """Weights of a block (zero where not `keep`), given the log of what later keys left over, and the log
        of what is left after this block. Before the last key nothing is taken: the log is 0."""

    def is_sequential(self) -> bool:
        return True

    def weights_of_rows(self, p: Params, s: Scores, keep: Keep, j: Columns) -> tuple[Scores, Row]:
        w, _ = self.scan_weights(p, s, keep, jnp.zeros_like(s[:, 0]))
        return w, jnp.where(jnp.any(keep, axis=1), 0, -jnp.inf).astype(s.dtype)

    def attend(self, passes: KeyPasses, block: Block) -> tuple[Values, Row]:
        width = block.key.v.shape[1]

        def start(shared: Tree, query: Tree) -> Tree:
            empty = jnp.zeros_like(query.nonfinite)
            total = jnp.zeros((empty.shape[0], width), empty.dtype)
            return total, empty, empty - jnp.inf, first_carry(passes.variant, shared, query, block.key)

        def step(masked: bool) -> Callable[..., Tree]:
            def cell(state: Tree, *sides: Tree) -> Tree:
                total, left, threshold, carry = state
                at = Block(*sides)
                keep = allowed_pairs(passes.variant, at)
                s, carry = logits(passes.variant, at, keep, carry)
                w, left = self.scan_weights(bind(at).normalizer, jnp.where(keep, s, 0), keep, left)
                threshold = jnp.where(jnp.any(keep, axis=1), 0, threshold)
                return total + mix_values(passes.variant, at, w), left, threshold, carry

            return cell

        def run(block: Block, known: Tree) -> tuple[Values, Row]:
            state = passes.fold_rows(start, step, block.shared, block.query, block.key)
            return state[0], state[2]

        output, threshold = in_wide_derivatives(run, block, {})
        return output.astype(block.key.v.dtype), threshold
