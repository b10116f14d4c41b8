"""Variants in two passes, and variants with an update of their own."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import recurrent_stepped as oracle
from recurrence.catalogue import computed, draw

from attnkit import forms
from attnkit.recurrence.variant.abc import Abc
from attnkit.recurrence.variant.gsa import Gsa
from attnkit.recurrence.variant.log_linear import LogLinear
from attnkit.recurrence.variant.mamba2 import Mamba2
from attnkit.recurrence.variant.mesa_net import MesaNet
from attnkit.recurrence.variant.ttt_linear import Moved, Training, TttLinear, slopes
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

SHAPE, TOKENS = HeadShape(heads=2, dim=4, value_dim=3), 11
ONE = 0.541324854612918  # softplus of it is 1


def one_head(chosen, params, inputs, head):
    needs = chosen.inputs(SHAPE)
    return {n: a[head] for n, a in params.items()}, {
        n: a if needs[n].shared else a[head] for n, a in inputs.items()
    }


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("form", ["scan", "chunked"])
def test_inner_training_is_the_paper_s_gradient_descent(batch, form):
    chosen = TttLinear(batch=batch, speed=2.0)
    params, inputs = draw(chosen, SHAPE, TOKENS)
    with jax.enable_x64(True):
        got = computed(chosen, SHAPE, params, inputs, implementation=form).output
    for head in range(SHAPE.heads):
        true = oracle.ttt_linear(*one_head(chosen, params, inputs, head), batch, speed=2.0)
        np.testing.assert_allclose(got[head], true, rtol=1e-11, atol=1e-11)


def test_slopes_are_the_gradient_of_the_inner_loss():
    random = np.random.default_rng(0)
    k, v, z, scale, shift = random.normal(size=(5, 7))

    def loss(z):
        unit = (z - jnp.mean(z)) / jnp.sqrt(jnp.var(z) + 1e-6)
        return jnp.sum((k + scale * unit + shift - v) ** 2) / 2

    with jax.enable_x64(True):
        k, v, z, scale, shift = map(jnp.asarray, (k, v, z, scale, shift))
        got = slopes({"norm_scale": scale, "norm_shift": shift}, {"k": k, "v": v}, z)
        np.testing.assert_allclose(got, jax.grad(loss)(z), rtol=1e-12, atol=1e-12)


@functools.cache
def inner_training(chunk):
    """Results of mini-batches of 5 by chunks (0: token by token), and first and second derivatives."""
    chosen, form = TttLinear(batch=5), "chunked" if chunk else "scan"

    def run(arrays, data):
        params, inputs, begin, now = arrays
        state = Training(Moved(*begin), Moved(*now), data["place"])
        more = {"segments": data["segments"], "length": data["length"]}
        return forms.recur(
            chosen, SHAPE, params, inputs, state=state, implementation=form, chunk=chunk or None, **more
        )

    def everything(arrays, along, data):
        def total(arrays):
            found = run(arrays, data)
            return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves((found.output, found.state[:2])))

        return run(arrays, data), jax.jvp(jax.grad(total), (arrays,), (along,))

    return jax.jit(everything)


DOCUMENTS = {"one": [0] * 11, "many": [0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 3], "each": list(range(11))}


@pytest.mark.parametrize("chunk", [2, 8])
@pytest.mark.parametrize(("place", "length"), [(0, 11), (3, 11), (4, 8), (1, 1)])
def test_inner_training_by_chunks_begins_stops_and_forgets_anywhere(chunk, place, length):
    random = np.random.default_rng(3)
    params, inputs = draw(TttLinear(), SHAPE, TOKENS)
    begin, now = ((random.normal(size=(2, 3, 3)), random.normal(size=(2, 3))) for _ in range(2))
    arrays = (params, inputs, begin, now)
    along = jax.tree.map(lambda a: random.normal(size=a.shape), arrays)
    with jax.enable_x64(True):
        for segments in DOCUMENTS.values():
            data = {"place": jnp.full(2, place, jnp.int32), "segments": jnp.array(segments)}
            data["length"] = jnp.array(length)
            (got, slope), (true, right) = (inner_training(n)(arrays, along, data) for n in (chunk, 0))
            np.testing.assert_array_equal(got.state.place, true.state.place)
            for limit, one, other in ((1e-12, got, true), (1e-10, slope, right)):
                close = functools.partial(np.testing.assert_allclose, rtol=limit, atol=limit)
                jax.tree.map(close, one, other)


def test_a_chunk_is_no_longer_than_a_mini_batch():
    told = forms.explain_recurrent(TttLinear(batch=5), 2048)
    assert (told.form, told.chunk, told.chunks) == ("chunked", 5, 410)


def test_an_inner_step_worked_by_hand():
    # k + LN(b) - v = (1, -2, 1), orthogonal to LN(b) and to ones: a step of 1 subtracts it / size of b
    shape, size = HeadShape(1, 3, 3), (2 / 3) ** 0.5
    params = {"matrix": np.zeros((1, 3, 3)), "bias": np.array([[1.0, 0, -1]])}
    params |= {"norm_scale": np.ones((1, 3)), "norm_shift": np.zeros((1, 3))}
    k = np.array([[[1.0, 0, 0]]])
    inputs = {
        "q": k,
        "k": k,
        "v": k + np.array([1 / size - 1, 2, -1 / size - 1]),
        "rate": np.zeros((1, 1, 1)),
    }
    with jax.enable_x64(True):
        got = computed(TttLinear(speed=6.0), shape, params, inputs).output[0, 0]
    z = np.array([1.0, 0, -1]) - 2 * np.array([1, -2, 1]) / size
    np.testing.assert_allclose(got, [1, 0, 0] + z / (38 / 3) ** 0.5, rtol=1e-5)


@pytest.mark.parametrize("levels", [3, 15])
@pytest.mark.parametrize("form", ["scan", "chunked", "matrix"])
def test_log_linear_attention_is_the_paper_s_sum_over_stretches(levels, form):
    chosen = LogLinear(levels=levels, rows=5)
    params, inputs = draw(chosen, SHAPE, TOKENS)
    with jax.enable_x64(True):
        got = computed(chosen, SHAPE, params, inputs, implementation=form).output
    for head in range(SHAPE.heads):
        true = oracle.log_linear(*one_head(chosen, params, inputs, head), levels)
        np.testing.assert_allclose(got[head], true, rtol=1e-12, atol=1e-12)


def test_levels_worked_by_hand():
    # the fourth token (3 = 11 in binary) sees 0 and 1 in level 2, 2 in level 1 and itself in level 0
    s = 0.7310585786300049  # silu(1)
    shape, one = HeadShape(1, 1, 1), np.ones((4, 1))
    params = {"dt_bias": np.zeros(1), "A_log": np.full(1, -np.inf), "skip": np.zeros(1)}
    params["level"] = np.ones((1, 3))
    inputs = {"q": one, "k": one, "v": one[None], "dt": np.full((1, 4, 1), ONE)}
    inputs["level"] = np.log(np.expm1([[[1.0, 10, 100]] * 4]))
    with jax.enable_x64(True):
        got = computed(LogLinear(levels=3, rows=1), shape, params, inputs).output[0, :, 0]
    np.testing.assert_allclose(got, s**3 * np.array([1, 1 + 10, 1 + 200, 1 + 10 + 200]), rtol=1e-7)


def test_log_linear_attention_with_equal_weights_is_mamba_2():
    chosen = LogLinear(levels=3, rows=5)
    params, inputs = draw(chosen, SHAPE, TOKENS)
    inputs["level"], params["level"] = np.full_like(inputs["level"], ONE), np.ones_like(params["level"])
    segments = jnp.array([0] * 6 + [1] * 5)
    with jax.enable_x64(True):
        got = computed(chosen, SHAPE, params, inputs, segments=segments).output
        weigh = functools.partial(forms.recurrent_weights, chosen, SHAPE, segments=segments)
        weights = np.asarray(jax.jit(weigh)(params, inputs))
        v = np.asarray(chosen.activate("v", jnp.asarray(inputs["v"])))
        plain = {n: a for n, a in inputs.items() if n != "level"}
        less = {n: a for n, a in params.items() if n != "level"}
        true = computed(Mamba2(rows=5), SHAPE, less, plain, segments=segments).output
    np.testing.assert_allclose(got, true, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(weights @ v, true, rtol=1e-12, atol=1e-12)


def test_as_many_conjugate_gradients_as_dimensions_are_exact():
    exact, few = MesaNet(), MesaNet(iterations=SHAPE.dim)
    params, inputs = draw(exact, SHAPE, TOKENS)
    weight = np.random.default_rng(2).normal(size=inputs["v"].shape)

    def slopes(chosen):
        def total(given):
            return jnp.sum(
                weight * forms.recur(chosen, SHAPE, *given, implementation="chunked", chunk=4).output
            )

        return jax.jit(jax.value_and_grad(total))((params, inputs))

    with jax.enable_x64(True):
        true, got, rough = jax.tree.map(np.asarray, [slopes(c) for c in (exact, few, MesaNet(iterations=1))])
    chex.assert_trees_all_close(got, true, rtol=1e-9, atol=1e-9)
    assert abs(rough[0] - true[0]) > 1e-3


@pytest.mark.parametrize("chosen", [Gsa(slots=5), Abc(slots=5)], ids=["gsa", "abc"])
def test_slots_at_extremes(chosen):
    params, inputs = draw(chosen, SHAPE, TOKENS)
    name = "decay" if "decay" in inputs else "control"
    inputs[name] = np.random.default_rng(1).choice([-9e3, -30.0, 0.0, 30.0, 9e3], size=inputs[name].shape)
    with jax.enable_x64(True):
        true, got = (
            computed(chosen, SHAPE, params, inputs, implementation=form).output
            for form in ("scan", "chunked")
        )
    np.testing.assert_allclose(got, true, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Gsa, Abc, MesaNet, TttLinear, LogLinear])
def test_both_directions_are_refused(kind):
    with pytest.raises(ValueError, match="direction = 'both'"):
        kind(direction="both")
