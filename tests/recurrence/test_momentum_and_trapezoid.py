"""Titans and Mamba-3, whose states are more than one matrix, against their equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import recurrent_stepped as oracle
from recurrence.catalogue import computed, draw

from attnkit import forms
from attnkit.recurrence.variant.delta_net import DeltaNet
from attnkit.recurrence.variant.mamba3 import Mamba3
from attnkit.recurrence.variant.titans import Titans
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

SHAPE, TOKENS = HeadShape(heads=2, dim=4, value_dim=3), 11
ONE = 0.541324854612918  # softplus of it is 1
CASES = {"titans": (Titans(), oracle.titans), "mamba3": (Mamba3(rows=7, angles=2), oracle.mamba3)}
SEGMENTS = np.array([0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 3])


def true_outputs(chosen, equation, params, inputs, rows):
    """The equation for some tokens alone, of every head."""
    shared = {name for name, need in chosen.inputs(SHAPE).items() if need.shared}
    return np.stack(
        [
            equation(
                {name: a[head] for name, a in params.items()},
                {name: (a if name in shared else a[head])[rows] for name, a in inputs.items()},
            )
            for head in range(SHAPE.heads)
        ]
    )


@pytest.mark.parametrize("form", ["scan", "chunked", "matrix"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_paper_s_in_every_document(name, form):
    chosen, equation = CASES[name]
    params, inputs = draw(chosen, SHAPE, TOKENS)
    with jax.enable_x64(True):
        how = {"implementation": form, "chunk": 4 if form == "chunked" else None}
        got = computed(chosen, SHAPE, params, inputs, segments=jnp.array(SEGMENTS), **how).output
    for document in range(4):
        rows = document == SEGMENTS
        true = true_outputs(chosen, equation, params, inputs, rows)
        np.testing.assert_allclose(got[:, rows], true, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_chunks_continue_a_state_and_stop_anywhere_with_derivatives(name):
    chosen, _ = CASES[name]
    random = np.random.default_rng(3)
    params, inputs = draw(chosen, SHAPE, TOKENS)
    with jax.enable_x64(True):
        state = jax.tree.map(
            lambda a: random.normal(size=a.shape) / 2, forms.empty_state(chosen, SHAPE, float)
        )

    def everything(arrays, length, form, chunk):
        def run(arrays):
            params, inputs, state = arrays
            more = {"segments": jnp.array(SEGMENTS), "length": length, "implementation": form, "chunk": chunk}
            return forms.recur(chosen, SHAPE, params, inputs, state=state, **more)

        def total(arrays):
            return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(run(arrays)))

        return run(arrays), jax.grad(total)(arrays)

    run = jax.jit(everything, static_argnums=(2, 3))
    with jax.enable_x64(True):
        for length in (11, 6, 0):
            got, true = (
                run((params, inputs, state), length, *how) for how in (("chunked", 4), ("scan", None))
            )
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), got, true)


def test_descent_with_momentum_worked_by_hand():
    # One dimension, key and query 1, value 1 at first and then 0; rate 1, momentum 1/2, forgetting 1/4:
    # S = 1, M = 1; then S = 1/2 - 1 = -1/2, M = 3/4 - 1/2; then S = -1/4 - 1/4 = -1/2, M = 3/16 - 1/2.
    column = np.ones((1, 3, 1))
    inputs = {"q": 50 * column, "k": 50 * column, "rate": 50 * column, "momentum": 0 * column}
    inputs |= {"forget": -np.log(3) * column, "v": np.array([[[1.2784645427610738], [0.0], [0.0]]])}
    with jax.enable_x64(True):
        got = computed(Titans(), HeadShape(1, 1, 1), {}, inputs).output[0, :, 0]
    np.testing.assert_allclose(got, [1.0, 0.25, 0.1875 - 0.5], rtol=1e-6)


def test_a_trapezoid_and_a_quarter_turn_worked_by_hand():
    # Time step 1, decay 1/e, equal shares, key and query (1, 0) turned by a quarter every token: value 1 is
    # read with 1/2 at once, with cos 90 after one token and with cos 180 (1/2 + 1/2) e^-2 after two.
    params = {"dt_bias": np.zeros(1), "skip": np.zeros(1)}
    params |= {f"{n}_gain": np.zeros((1, 2)) for n in "qk"} | {
        f"{n}_bias": np.array([[1.0, 0]]) for n in "qk"
    }
    column, pair = np.ones((1, 3, 1)), np.ones((3, 2))
    inputs = {"q": pair, "k": pair, "v": np.array([[[1.0], [0.0], [0.0]]]), "dt": ONE * column}
    inputs |= {"decay": 0 * column, "share": 0 * column, "angle": np.full((3, 1), np.arctanh(0.5))}
    with jax.enable_x64(True):
        got = computed(Mamba3(rows=2, angles=1), HeadShape(1, 1, 1), params, inputs).output[0, :, 0]
    np.testing.assert_allclose(got, [0.5, 0.0, -np.exp(-2)], rtol=1e-9, atol=1e-9)


def test_without_momentum_the_memory_is_a_delta_rule():
    params, inputs = draw(Titans(), SHAPE, TOKENS)
    inputs["momentum"] = np.full_like(inputs["momentum"], -80.0)
    inputs["forget"] = np.full_like(inputs["forget"], -80.0)
    with jax.enable_x64(True):
        got = computed(Titans(), SHAPE, params, inputs).output
        plain = {name: inputs[name] for name in "qkv"} | {"beta": inputs["rate"]}
        delta = computed(DeltaNet(), SHAPE, {}, plain).output * SHAPE.dim**0.5
    np.testing.assert_allclose(got, delta, rtol=1e-11, atol=1e-11)


def test_more_angles_than_pairs_are_refused():
    with pytest.raises(ValueError, match="angles = 4: expected at most half of rows = 7"):
        Mamba3(rows=7, angles=4)
