import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.training.nonfinite import failure
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.spikes import medians, ratios
from attnkit.training.step import (
    begin,
    count_slices,
    make_dispatch,
    make_gradient,
    make_step,
    split,
    steps_per_dispatch,
)

OPTIMIZER = Optimizer(learning_rate=0.02, warmup=3)


@pytest.fixture
def made(toy):
    def make(optimizer=OPTIMIZER, dropout=0.3, **plan):
        plan = Training(**{"steps": 30, "batch_size": 6, **plan})
        graph, params, constants = split(toy.ToyNetwork(nnx.Rngs(0), dropout=dropout))
        state = begin(graph, params, constants, plan, optimizer)
        step = jax.jit(make_step(graph, plan, optimizer))
        return graph, state, plan, step, hyperparameters(optimizer, plan.label_smoothing)

    return make


def stacked(toy, start, count, capacity=None, **options):
    data = toy.ToyDataset(**options)
    batches = [data.batch(0, start + min(i, count - 1), 6) for i in range(capacity or count)]
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def test_one_step_is_adamw_on_the_mean_gradient(made, toy):
    graph, state, _, step, hyper = made(dropout=0.0)
    batch = toy.ToyDataset().batch(0, 0, 6)

    def loss(params):
        logits = nnx.merge(graph, params, state.constants)(batch).logits
        likelihood = jax.nn.log_softmax(logits) * jax.nn.one_hot(batch["labels"], 11)
        return -(likelihood.sum(-1) * batch["weights"]).sum() / batch["weights"].sum()

    value, slope = jax.value_and_grad(loss)(state.params)
    norm = np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(slope)))
    new, metrics = step(state, batch, hyper)
    np.testing.assert_allclose(metrics.loss, value, rtol=1e-6)
    np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-6)
    np.testing.assert_allclose(metrics.learning_rate, 0.02 / 3, rtol=1e-6)
    g = np.asarray(slope["hidden"]) * min(1, 1 / norm)
    p = np.asarray(state.params["hidden"])
    expected = p - 0.02 / 3 * (g / (np.abs(g) + 1e-8) + 0.1 * p)
    np.testing.assert_allclose(new.params["hidden"], expected, atol=1e-6)
    assert int(new.step) == 1 and bool(metrics.made)


def test_slices_of_a_batch_give_the_gradient_of_the_whole(made, toy):
    batch = toy.ToyDataset().batch(0, 1, 6)
    batch["weights"][:2] = 0
    batch["weights"][2, 1] = 0.25
    found = []
    for accumulate in (1, 3):
        graph, state, plan, _, hyper = made(dropout=0.0, accumulate=accumulate, label_smoothing=0.1)
        found.append(
            jax.jit(make_gradient(graph, plan))(state.params, state.constants, batch, state.key, hyper)
        )
    chex.assert_trees_all_close(*found, rtol=2e-6, atol=2e-6)


def test_slices_have_dropout_of_their_own(made):
    graph, state, plan, _, hyper = made(accumulate=2)
    same = {
        "inputs": np.full((6, 5), 3),
        "labels": np.full((6, 5), 4),
        "weights": np.ones((6, 5), np.float32),
    }
    gradient = jax.jit(make_gradient(graph, plan))
    halves = []
    for start in (0, 3):
        weights = np.zeros((6, 5), np.float32)
        weights[start : start + 3] = 1
        halves.append(
            gradient(state.params, state.constants, same | {"weights": weights}, state.key, hyper)[0].loss
        )
    whole, _ = gradient(state.params, state.constants, same, state.key, hyper)
    assert abs(halves[0] - halves[1]) > 1e-3
    np.testing.assert_allclose(whole.loss, sum(halves), rtol=1e-6)


def test_a_batch_without_weight_moves_nothing_at_first(made, toy, bits):
    _, state, _, step, hyper = made(optimizer=Optimizer(weight_decay=0.0))
    batch = toy.ToyDataset().batch(0, 0, 6)
    batch["weights"][:] = 0
    new, metrics = step(state, batch, hyper)
    assert metrics.loss == 0 and metrics.gradient_norm == 0 and metrics.made
    assert bits(new.params) == bits(state.params)


def test_where_dispatches_end_changes_no_bit(made, toy, bits):
    ends = []
    for capacity, counts in ((1, [1] * 12), (5, [5, 5, 2]), (5, [3, 1, 4, 4]), (12, [12])):
        _, state, _, step, hyper = made(accumulate=2)
        dispatch, losses, start = make_dispatch(step), [], 0
        for count in counts:
            state, told, attempted = dispatch(
                state, stacked(toy, start, count, capacity), jnp.int32(count), hyper
            )
            assert attempted == count
            losses += np.asarray(told.loss)[:count].tolist()
            start += count
        ends.append((bits(state), losses))
    assert all(end == ends[0] for end in ends)


def test_nothing_is_traced_twice(made, toy):
    _, state, _, step, hyper = made()
    dispatch = make_dispatch(chex.assert_max_traces(lambda *given: step(*given), n=1))
    for count in (4, 4, 1, 3, 2):
        state, *_ = dispatch(state, stacked(toy, 0, count, 4), jnp.int32(count), hyper)


def test_the_state_is_donated(made, toy):
    _, state, _, step, hyper = made()
    make_dispatch(step)(state, stacked(toy, 0, 2), jnp.int32(2), hyper)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_beginning_copies_the_networks_arrays(made, toy):
    network = toy.ToyNetwork(nnx.Rngs(0))
    graph, params, constants = split(network)
    plan = Training(steps=3, batch_size=6)
    state = begin(graph, params, constants, plan, OPTIMIZER)
    make_dispatch(make_step(graph, plan, OPTIMIZER))(state, stacked(toy, 0, 1), 1, hyperparameters(OPTIMIZER))
    assert np.isfinite(network.table[...]).all()
    assert np.isfinite(network.offset[...]).all()


def test_a_bad_step_stops_before_its_update(made, toy, bits):
    _, state, _, step, hyper = made()
    dispatch = make_dispatch(step)
    good, *_ = dispatch(made()[1], stacked(toy, 0, 2, 5), jnp.int32(2), hyper)
    state, told, attempted = dispatch(state, stacked(toy, 0, 5, poison={2}), jnp.int32(5), hyper)
    assert attempted == 3
    assert told.made.tolist()[:3] == [True, True, False] and told.halted.tolist()[:3] == [
        False,
        False,
        True,
    ]
    assert bits((good.params, good.optimizer, good.step)) == bits((state.params, state.optimizer, state.step))
    before = bits(state)
    state, _, attempted = dispatch(state, stacked(toy, 3, 5), jnp.int32(5), hyper)
    assert attempted == 0 and bits(state) == before


def test_skipping_leaves_out_exactly_one_update(made, toy, bits):
    _, state, _, step, hyper = made(nonfinite="skip", skip_limit=1)
    data = toy.ToyDataset(poison={1, 3, 4})
    for number, (finite, skipped, halted) in enumerate(
        [(True, 0, False), (False, 1, False), (True, 1, False), (False, 2, False), (False, 2, True)]
    ):
        new, metrics = step(state, data.batch(0, number, 6), hyper)
        assert (bool(metrics.made), int(new.skipped), bool(new.halted)) == (finite, skipped, halted)
        kept = bits((new.params, new.optimizer)) == bits((state.params, state.optimizer))
        assert kept == (not finite)
        assert int(new.step) == number + (not halted)
        state = new


def test_a_spike_is_measured_against_the_updates_before_it(made, toy, bits):
    _, state, _, step, hyper = made(spike_factor=3.0)
    losses, norms = [], []
    for number in range(17):
        state, metrics = step(state, toy.ToyDataset(wrong={5}, poison={2}).batch(0, number, 6), hyper)
        state = dataclasses.replace(state, halted=jnp.bool_(False), step=jnp.int32(number + 1))
        assert bool(metrics.made) == (number != 2)
        if metrics.made:
            losses.append(metrics.loss), norms.append(metrics.gradient_norm)
    np.testing.assert_allclose(medians(state.optimizer), [np.median(losses), np.median(norms)], rtol=1e-6)
    for seen in ([3.01, 1], [1, 3.01], [2.99, 2.99], [np.nan, np.inf]):
        found = ratios(state.optimizer, medians(state.optimizer) * jnp.float32(seen))
        np.testing.assert_allclose(found, seen, rtol=1e-6)
    one_less = dataclasses.replace(state, optimizer=jax.tree.map(lambda a: a - 1, state.optimizer))
    assert np.isnan(medians(one_less.optimizer)).all()
    assert not (ratios(one_less.optimizer, jnp.full(2, 1e9)) > 3.0).any()


@pytest.mark.parametrize("rate", [np.nan, np.inf])
def test_a_learning_rate_that_is_not_finite_makes_no_update(made, toy, bits, rate):
    _, state, _, step, hyper = made()
    hyper = hyper._replace(learning_rate=jnp.float32(rate))
    new, metrics = step(state, toy.ToyDataset().batch(0, 0, 6), hyper)
    assert not metrics.made and new.halted
    assert bits(new.params) == bits(state.params)


def test_an_update_that_is_not_finite_is_not_made_and_named(made, toy, bits, tmp_path):
    optimizer = Optimizer(learning_rate=3.4e38, warmup=0, weight_decay=1.5)
    graph, state, plan, step, hyper = made(optimizer=optimizer)
    batch = toy.ToyDataset().batch(0, 0, 6)
    new, metrics = step(state, batch, hyper)
    assert np.isfinite([metrics.loss, metrics.gradient_norm, metrics.learning_rate]).all()
    assert not metrics.made and new.halted
    assert bits((new.params, new.optimizer)) == bits((state.params, state.optimizer))
    error = failure(tmp_path, graph, plan, optimizer, state, batch)
    assert "step 1: update is not finite, first at params/" in str(error)


@pytest.mark.parametrize(
    ("accumulate", "share", "slices"), [(5, 10, 5), (5, 5, 5), (2, 5, 1), (10, 5, 5), (1, 10, 1), (5, 2, 1)]
)
def test_a_devices_share_is_cut_into_slices_no_larger_than_asked_for(accumulate, share, slices):
    assert count_slices(Training(batch_size=10, accumulate=accumulate), share, 10_000) == slices


def test_bfloat16_computes_low_and_keeps_high(made, toy):
    seen = []

    class Watched(toy.ToyNetwork):
        def __call__(self, batch, *, key=None):
            seen.append(self.table[...].dtype)
            output = super().__call__(batch, key=key)
            seen.append(output.logits.dtype)
            return output

    plan = Training(steps=30, batch_size=6, precision="bfloat16")
    graph, params, constants = split(Watched(nnx.Rngs(0)))
    state = begin(graph, params, constants, plan, OPTIMIZER)
    step = jax.jit(make_step(graph, plan, OPTIMIZER))
    batch, hyper = toy.ToyDataset().batch(0, 0, 6), hyperparameters(OPTIMIZER)
    new, metrics = step(state, batch, hyper)
    assert seen == [jnp.bfloat16, jnp.bfloat16]
    assert {leaf.dtype for leaf in jax.tree.leaves(new.params)} == {jnp.dtype("float32")}
    assert metrics.loss.dtype == jnp.float32
    _, exact = made()[3](state, batch, hyper)
    assert 0 < abs(metrics.loss - exact.loss) < 0.03


def test_a_population_trains_in_one_program(made, toy):
    _, state, _, step, hyper = made(dropout=0.0)
    rates = jnp.array([0.01, 0.02, 0.04])
    batch = toy.ToyDataset().batch(0, 0, 6)

    def trained(rate):
        return step(state, batch, hyper._replace(learning_rate=rate))[0]

    many = jax.vmap(trained)(rates)
    for i, rate in enumerate(rates):
        alone = trained(rate)
        np.testing.assert_allclose(many.params["out"][i], alone.params["out"], atol=1e-6)


def test_constants_are_passed_through(made, toy, bits):
    _, state, _, step, hyper = made()
    new, _ = step(state, toy.ToyDataset().batch(0, 0, 6), hyper)
    assert bits(new.constants) == bits(state.constants) != []


@pytest.mark.parametrize(
    ("plan", "parameters", "expected"),
    [
        ({"steps_per_dispatch": 3}, 10, 3),
        ({}, 10, 32),
        ({"steps": 7}, 10, 7),
        ({}, 4_000_000, 8),
        ({}, 10**9, 1),
    ],
)
def test_steps_per_dispatch(plan, parameters, expected):
    leaf = jax.ShapeDtypeStruct((parameters,), jnp.float32)
    assert steps_per_dispatch(Training(**plan), {"w": leaf}, 100) == expected
