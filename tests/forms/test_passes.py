"""Sums over blocks: closed under every transformation, on every kind of machine, and sparing."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.forms.block_loops import LOOPS
from attnkit.forms.block_mask import make_block_mask
from attnkit.forms.block_op import Lowering
from attnkit.forms.pallas.lowering import KERNELS
from attnkit.forms.passes import Passes
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.everything import Everything
from attnkit.masks.window import Window
from attnkit.scored.preset.attention import Attention

ROWS, COLUMNS, WIDTH, HEADS = 11, 7, 3, 2


def draw():
    random = np.random.default_rng(0)
    shapes = {"w": (WIDTH,), "a": (HEADS, ROWS, WIDTH), "b": (HEADS, COLUMNS, WIDTH)}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def cell(masked):
    def of_block(whole, row, column, carry):
        s = jnp.sin((row["a"] * whole["w"]) @ column["b"].T)
        return (jnp.sum(s, axis=1), s @ column["b"]), carry

    return of_block


def by_blocks(w, a, b, lowering=LOOPS):
    block_mask = make_block_mask(Everything(), ROWS, COLUMNS, block=(1, 1))
    return Passes(Attention(), block_mask, lowering=lowering).sum_blocks(cell, {"w": w}, {"a": a}, {"b": b})


def dense(w, a, b):
    s = jnp.sin((a * w) @ b.T)
    return jnp.sum(s, axis=1), s @ b


def all_derivatives(function):
    """Results of a mapped function with shared `w`, and derivatives of the first two orders in every mode."""

    def total(given):
        found = jax.vmap(function, (None, 0, 0))(given["w"], given["a"], given["b"])
        return sum(jnp.sum(part**2) for part in found)

    def everything(given, moved):
        gradient = jax.grad(total)
        return {
            "value": total(given),
            "reverse": gradient(given),
            "forward": jax.jvp(total, (given,), (moved,))[1],
            "forward over reverse": jax.jvp(gradient, (given,), (moved,))[1],
            "reverse over reverse": jax.grad(
                lambda at: sum(map(jnp.vdot, *map(jax.tree.leaves, (gradient(at), moved))))
            )(given),
            "reverse over forward": jax.grad(lambda at: jax.jvp(total, (at,), (moved,))[1])(given),
        }

    return jax.jit(everything)


@pytest.mark.parametrize("lowering", [LOOPS, KERNELS], ids=["loops", "kernels"])
def test_sums_are_closed_under_every_composition_of_derivatives(lowering):
    with jax.enable_x64(True):
        given, moved = draw(), jax.tree.map(np.cos, draw())
        blocks = functools.partial(by_blocks, lowering=lowering)
        got, true = all_derivatives(blocks)(given, moved), all_derivatives(dense)(given, moved)
        chex.assert_trees_all_close(got, true, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_mapped_axes_are_loops_or_batches_with_the_same_results(platform):
    used = []

    def ran(op, arguments, _, schedules):
        used.append(op.sizes)
        return LOOPS.compute(op, arguments, platform, schedules)

    blocks = functools.partial(by_blocks, lowering=Lowering(ran))
    with jax.enable_x64(True):
        given = draw()
        got = jax.vmap(blocks, (None, 0, 0))(given["w"], given["a"], given["b"])
        true = jax.vmap(dense, (None, 0, 0))(given["w"], given["a"], given["b"])
        chex.assert_trees_all_close(got, true, rtol=1e-12, atol=1e-12)
    assert used == [(HEADS,)]


def test_a_large_transposed_matrix_is_not_multiplied_as_it_lies():
    one = jax.ShapeDtypeStruct((1, 1024, 8), jnp.float32)
    scored = Attention(mask=Causal()).scored()

    def total(q, k, v):
        return jnp.sum(forms.attend(scored, None, q, k, v).output)

    text = jax.jit(jax.grad(total, (0, 1, 2))).lower(one, one, one).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line and "contracting_dims" in line]
    assert products and not [line for line in products if "contracting_dims = [0] x [0]" in line]


BANDS = {"window": Window(back=4, ahead=2), "back": Window(back=3), "all": Everything()}


@pytest.mark.parametrize("name", BANDS)
def test_neighboring_blocks_in_one_step_are_those_blocks(name):
    mask = BANDS[name]
    block_mask = make_block_mask(mask, ROWS, 12, block=(4, 4))
    together = dataclasses.replace(block_mask, merge_width=block_mask.band_width())
    assert together.merge_width > 1 and together.computed >= block_mask.computed
    with jax.enable_x64(True):
        problem = {
            k: np.pad(v, [(0, 0)] * (v.ndim - 2) + [(0, 12 - v.shape[-2]), (0, 0)])
            for k, v in draw().items()
            if k != "w"
        }
        j = np.arange(12)

        def of_block(masked):
            def cell(whole, row, column, carry):
                keep = mask.allows(row["i"][:, None], column["j"][None, :], Data()) if masked else True
                s = jnp.where(keep, jnp.sin((row["a"] * whole) @ column["b"].T), 0)
                return (jnp.sum(s, axis=1), s @ column["b"]), carry

            return cell

        def total(block_mask, w, a, b):
            found = Passes(Attention(), block_mask).sum_blocks(
                of_block, w, {"a": a, "i": j}, {"b": b, "j": j}
            )
            return sum(jnp.sum(jnp.cos(part)) for part in found)

        def derivatives(block_mask):
            at = (draw()["w"], problem["a"][0], problem["b"][0])
            gradient = jax.grad(lambda *given: total(block_mask, *given), (0, 1, 2))
            return total(block_mask, *at), gradient(*at), jax.jvp(gradient, at, jax.tree.map(np.cos, at))[1]

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
            derivatives(together),
            derivatives(block_mask),
        )


def test_a_fold_has_no_derivative_and_says_so():
    block_mask = make_block_mask(Everything(), ROWS, COLUMNS, block=(1, 1))

    def largest(a):
        def step(masked):
            return lambda state, whole, row, column: jnp.maximum(
                state, jnp.max(row["a"] @ column["b"].T, axis=1)
            )

        found = Passes(Attention(), block_mask).fold_rows(
            lambda whole, row: row["a"][:, 0] - 9, step, {}, {"a": a}, {"b": draw()["b"][0]}
        )
        return jnp.sum(found)

    with pytest.raises(TypeError, match="no derivative of its own"):
        jax.grad(largest)(jnp.asarray(draw()["a"][0]))


def test_a_fold_whose_state_changes_its_type_is_refused():
    block_mask = make_block_mask(Causal(), 6, 6, block=(3, 3))

    def step(masked):
        return lambda state, whole, row, column: state.astype(jnp.int32)

    with pytest.raises(TypeError, match="make them the same"):
        Passes(Attention(), block_mask).fold_rows(
            lambda whole, row: row, step, (), jnp.zeros(6), jnp.zeros(6)
        )
