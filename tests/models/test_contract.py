"""What every network promises, whichever it is."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from models.networks import BATCH, CASES, LENGTHS, SOURCE, built, example

from attnkit.masks.causal import Causal
from attnkit.models.contract import attention_maps
from attnkit.scored.normalizer.gumbel import Gumbel
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

WRITERS = [name for name, case in CASES.items() if case.writes]
#: Compiles twice as fast; what is compared is compiled alike.
QUICKLY = {
    "decoder",
    "decoder-hybrid",
    "encoder_decoder",
    "rnn-bahdanau",
    "classifier",
    "hierarchical_classifier",
}
READERS = [name for name, case in CASES.items() if case.reads]


@functools.cache
def program(name):
    """The jitted `(params, batch) -> Output`, which may be traced once."""
    graph = built(name)[0]

    def run(params, batch):
        return nnx.merge(graph, params)(batch)

    run.__name__ = name  # chex counts traces by name
    return jax.jit(chex.assert_max_traces(run, n=1))


def logits(name, batch, seed=0):
    return program(name)(built(name, seed)[1], batch).logits


@functools.cache
def looked(name):
    """Output and maps, and the gradient of every parameter in the same program."""
    graph, params = built(name)

    def loss(params, batch):
        network = nnx.merge(graph, params)
        output = network(batch)
        random = jax.random.normal(jax.random.key(0), output.logits.shape)
        loss = jnp.sum(random * output.logits) + jnp.sum(jnp.asarray(output.penalty))
        return loss, (output, attention_maps(network, batch))

    gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))
    found, gradient = gradients(params, example(CASES[name].sizes))
    return found[1], gradient


def every(names):
    """All of these cases; the rarer ones only if slow tests are asked for."""
    cases = [pytest.param(name, marks=[] if name in QUICKLY else [pytest.mark.slow]) for name in names]
    return pytest.mark.parametrize("name", cases)


@every(CASES)
def test_shape_type_and_one_trace_for_all_parameters(name):
    sizes = CASES[name].sizes
    one, two = (logits(name, example(sizes), seed) for seed in (0, 1))
    assert one.shape == (BATCH, sizes.length, max(1, sizes.vocabulary)) and one.dtype == jnp.float32
    assert not np.allclose(one, two)
    assert built(name, 0)[0] == built(name, 1)[0]


@every(CASES)
def test_looking_changes_nothing_and_maps_are_weights(name):
    output, maps = looked(name)[0]
    np.testing.assert_allclose(output.logits, logits(name, example(CASES[name].sizes)), atol=2e-6)
    length = CASES[name].sizes.length
    for key, weights in maps.items():
        source = key.startswith("encoder.") or key.endswith((".cross", ".pool"))
        queries = SOURCE if key.startswith("encoder.") else length
        assert weights.shape[::2] == (BATCH, queries) and weights.shape[3] == (
            SOURCE if source else length
        ), key
        for row, real in enumerate(LENGTHS):
            rows = slice(real) if key.startswith("encoder.") else slice(None)
            np.testing.assert_allclose(weights[row, :, rows].sum(-1), 1, rtol=1e-5, err_msg=key)
            if source:
                assert not weights[row, :, rows, real:].any(), key


@every(CASES)
def test_every_parameter_matters(name):
    for path, leaf in jax.tree_util.tree_leaves_with_path(looked(name)[1]):
        assert bool(jnp.all(jnp.isfinite(leaf))) and bool(jnp.any(leaf)), jax.tree_util.keystr(path)


@every(READERS)
def test_what_does_not_exist_changes_nothing(name):
    batch = example(CASES[name].sizes)
    key = "source_features" if "source_features" in batch else "source"
    spare = jnp.arange(SOURCE) >= batch["source_length"][:, None]
    other = example(CASES[name].sizes, seed=5)
    seen = spare if batch[key].ndim == 2 else spare[..., None]
    junk = dict(batch, **{key: jnp.where(seen, other[key], batch[key])})
    junk["source_segment"] = jnp.where(spare, 3, batch["source_segment"])
    before, after, changed = (logits(name, b) for b in (batch, junk, dict(batch, **{key: other[key]})))
    if name == "encoder":
        before, after, changed = (jnp.where(spare[..., None], 0, a) for a in (before, after, changed))
    np.testing.assert_array_equal(before, after)
    assert bool(jnp.all(jnp.any(before != changed, axis=(1, 2))))


@every(WRITERS)
def test_nothing_sees_the_future(name):
    batch, at = example(CASES[name].sizes), 3
    key = "features" if "features" in batch else "inputs"
    other = example(CASES[name].sizes, seed=5)[key]
    other = other if key == "features" else (batch[key] + 1) % CASES[name].sizes.vocabulary
    before, after = (
        logits(name, dict(batch, **{key: x})) for x in (batch[key], batch[key].at[:, at].set(other[:, at]))
    )
    np.testing.assert_array_equal(before[:, :at], after[:, :at])
    assert bool(jnp.all(jnp.any(before[:, at] != after[:, at], axis=-1)))


@every(CASES)
def test_decoding_gives_the_logits_of_the_whole(name):
    graph, params = built(name)
    batch = example(CASES[name].sizes)
    tokens = batch["features"] if "features" in batch else batch["inputs"]
    first = min(3, tokens.shape[1])

    def decode(params, batch):
        network = nnx.merge(graph, params)
        state = network.start(batch, tokens.shape[1])
        assert all(leaf.shape[0] == BATCH for leaf in jax.tree.leaves(state))
        head, state = network.step(state, tokens[:, :first])

        def one(state, token):
            out, state = network.step(state, token[:, None])
            return state, out[:, 0]

        _, tail = jax.lax.scan(one, state, jnp.swapaxes(tokens[:, first:], 0, 1))
        return jnp.concatenate([head, jnp.swapaxes(tail, 0, 1)], axis=1)

    decoded = jax.jit(decode)(params, batch)
    np.testing.assert_allclose(decoded, logits(name, batch), atol=1e-5)


@every(CASES)
def test_half_precision_parameters_make_a_half_precision_network(name):
    graph, params = built(name)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    network = nnx.merge(graph, half)
    batch = example(CASES[name].sizes)
    output = jax.eval_shape(network, batch)
    maps = jax.eval_shape(lambda batch: attention_maps(network, batch), batch)
    assert output.logits.dtype == jnp.float32
    assert {weights.dtype for weights in maps.values()} <= {jnp.dtype("float32")}
    state = jax.eval_shape(lambda batch: network.start(batch, 5), batch)
    tokens = batch["features"] if "features" in batch else batch["inputs"]
    found, after = jax.eval_shape(network.step, state, tokens[:, :1])
    assert found.dtype == jnp.float32
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)


DROPPING = Attention(mask=Causal(), dropout=0.4)
RANDOM = {
    "decoder": dataclasses.replace(
        CASES["decoder"].model,
        depth=2,
        mixer=(DROPPING, Attention(mask=Causal(), normalizer=Gumbel())),
    ),
    "encoder_decoder": dataclasses.replace(CASES["encoder_decoder"].model, decoder=DROPPING),
    "hierarchical_encoder_decoder": CASES["hierarchical_encoder_decoder"].model,
    "rnn-bahdanau": CASES["rnn-bahdanau"].model,
    "perceiver-text": CASES["perceiver-text"].model,
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_of_an_example_follow_its_key_and_not_its_place(name):
    """Rows in another order give the same outputs in that order, if their keys go with them."""
    sizes = CASES[name].sizes
    graph, params = nnx.split(dataclasses.replace(RANDOM[name], dropout=0.5).build(sizes, nnx.Rngs(0)))
    batch = {**example(sizes), "example_key": jax.random.split(jax.random.key(1), BATCH)}
    run = jax.jit(lambda params, batch: nnx.merge(graph, params)(batch, key=jax.random.key(2)).logits)
    order = jnp.array([2, 0, 1])
    straight, turned = run(params, batch), run(params, {n: a[order] for n, a in batch.items()})
    np.testing.assert_allclose(straight[order], turned, atol=2e-6)
    other = run(params, {**batch, "example_key": batch["example_key"][order]})
    assert np.all(np.abs(other - straight).max(axis=(1, 2)) > 1e-3)
