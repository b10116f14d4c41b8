"""DeepSeek sparse attention: the layer, its penalty and what the penalty moves, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layers.token_mixer.setting import (
    CAUSAL,
    DIM,
    HEADS,
    apart,
    called,
    compiled,
    decoded,
    made,
    number,
    tokens,
)
from layers.token_mixer.setting import whole as passed
from oracles import layers, sparse

from attnkit.conformance import check
from attnkit.layers.contract import Width
from attnkit.layers.token_mixer.deepseek_sparse import DeepseekSparse
from attnkit.layers.token_mixer.shared_index import SharedIndex
from attnkit.masks.contract import Data
from attnkit.masks.per_head import PerHead
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.training.objective import errors

pytestmark = pytest.mark.one_python

SLOW = pytest.mark.slow  # some seconds each, all of it compiling
GROUPS, COUNT, INDEX = 3, 7, {"index_heads": 2, "index_dim": 5}
SMALL = DeepseekSparse(count=3, penalty=0.5, position=(Rotary(),), **INDEX, **CAUSAL)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def projected(layer, name, x):
    linear = layer.engine.inputs["selection"][0][name]
    return x @ number(linear.kernel) + number(linear.bias)


def loops(layer, x, count):
    """The heads' weights of one sequence, their output, and the index of chosen keys."""
    table, seen = sparse.lightning(*(projected(layer, n, x) for n in ("query", "weight", "key")), count, 2)
    q = layers.split(x @ number(layer.project.query.kernel), HEADS)
    both = layers.key_value(number(layer.project.key_value.kernel), GROUPS, DIM // HEADS)
    keys_of, values_of = (layers.split(x @ kernel, GROUPS) for kernel in both)
    weights = np.zeros((HEADS, len(x), len(x)))
    for h in range(HEADS):
        k = keys_of[h * GROUPS // HEADS]
        for t, keys in enumerate(seen):
            turned = [layers.rotated(k[s], s) for s in keys]
            weights[h, t, keys] = sparse.softmax(
                [layers.rotated(q[h, t], t) @ key / np.sqrt(len(key)) for key in turned]
            )
    v = np.repeat(values_of, HEADS // GROUPS, axis=0)
    y = np.concatenate(list(weights @ v), axis=1) @ number(layer.output_projection.output.kernel)
    return weights, y, table, seen


def divergence(weights, table, seen):
    """Equation 4, mean over queries, without the entropy of the weights: and that entropy."""
    crossed, entropy = 0.0, 0.0
    for t, keys in enumerate(seen):
        p = weights[:, t, keys].sum(axis=0)
        p = p / p.sum()
        other = sparse.softmax(table[t, keys])
        crossed -= p @ np.log(other) / len(seen)
        entropy -= p @ np.log(p) / len(seen)
    return crossed, entropy


def carried(layer, x, data=None):
    return compiled([layer], lambda one, x: one[0].with_carry(x, carry={}, data=data))(x)


def test_equations_and_penalty():
    layer, x = made(SMALL, GROUPS), tokens(count=COUNT)
    y, above = carried(layer, x)
    for b in range(2):
        weights, expected, table, seen = loops(layer, x[b], 3)
        assert apart(y[b], expected) < 1e-12
        crossed, entropy = divergence(weights, table, seen)
        assert apart(above["penalty"][b], 0.5 * crossed) < 1e-12
        assert crossed > entropy


def test_the_penalty_moves_the_index_and_nothing_else():
    layer, x = made(SMALL, GROUPS), tokens(count=COUNT, batch=1)
    graph, params = nnx.split(layer)

    def asked(params, x):
        return nnx.merge(graph, params).with_carry(x, carry={})[1]["penalty"].sum()

    grads, by_token = jax.jit(jax.grad(asked, argnums=(0, 1)))(params, x)
    assert not np.any(by_token)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        name = jax.tree_util.keystr(path)
        assert np.any(grad) == ("['selection']" in name), name
    # With the weights of attention fixed, the slope is that of the loops.
    weights, _, _, seen = loops(layer, x[0], 3)
    kernel = layer.engine.inputs["selection"][0]["key"].kernel
    start, direction = number(kernel), np.random.default_rng(5).normal(size=kernel.shape)
    found = []
    for step in (1e-6, -1e-6):
        kernel[...] = jnp.asarray(start + step * direction)
        found.append(0.5 * divergence(weights, loops(layer, x[0], 3)[2], seen)[0])
    slope = (found[0] - found[1]) / 2e-6
    exact = np.sum(number(grads["engine"]["inputs"]["selection"][0]["key"]["kernel"]) * direction)
    np.testing.assert_allclose(exact, slope, rtol=1e-7)


@SLOW
def test_decoding_in_pieces():
    layer, x = made(SMALL, GROUPS), tokens(count=COUNT)
    assert apart(decoded([layer], x, pieces=(1, 1, 1, 2, 2)), passed([layer], x)) < 1e-12


@SLOW
def test_many_keys_are_plain_attention():
    plain, x = made(Attention(**CAUSAL), GROUPS), tokens(count=COUNT)
    layer = made(DeepseekSparse(count=COUNT, **INDEX, **CAUSAL), GROUPS)
    layer.project, layer.output_projection = plain.project, plain.output_projection
    assert apart(called(layer, x), called(plain, x)) < 1e-14


@SLOW
def test_tokens_that_do_not_exist_ask_for_nothing():
    layer, x = made(SMALL, GROUPS, padded=True), tokens(count=COUNT)
    short = carried(layer, x[:, :5], Data(scalar={"length": jnp.array([5, 5])}))[1]["penalty"]
    long = carried(layer, x, Data(scalar={"length": jnp.array([5, 5])}))[1]["penalty"]
    assert apart(long, short) < 1e-13


def test_the_objective_of_a_network_has_it():
    batch = {"inputs": jnp.arange(14).reshape(2, COUNT) % 5, "labels": jnp.ones((2, COUNT), int)}
    network = Decoder(model_dim=DIM, heads=HEADS, kv_heads=GROUPS, depth=2, mixer=SMALL).build(
        Sizes(vocabulary=5, length=COUNT), nnx.Rngs(0)
    )
    graph, params = nnx.split(network)

    def objective(params):
        found = errors(nnx.merge(graph, params)(batch), batch)
        return found.objective.sum(), found

    (_, found), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    assert np.all(np.asarray(found.objective) > np.asarray(found.loss))
    for n in range(2):
        linear = grads["stack"]["blocks"][n]["mixer"]["engine"]["inputs"]["selection"][0]["query"]
        assert np.any(np.asarray(linear["kernel"][...]))


@SLOW
def test_contract():
    matrix = check(DeepseekSparse, level="full")
    assert matrix.ok, f"\n{matrix}"


def test_refusals():
    with pytest.raises(ValueError, match="cross-attention"):
        made(SMALL, cross=True)
    mask = PerHead(masks=(CAUSAL["mask"],) * HEADS)
    with pytest.raises(ValueError, match="share one index"):
        made(DeepseekSparse(mask=mask, **INDEX))


def test_a_shared_index_chooses_and_is_trained_as_the_layer_s_own():
    full, x = made(SMALL, GROUPS), jnp.asarray(tokens())
    config = SharedIndex(count=3, penalty=0.5, position=(Rotary(),), **INDEX, **CAUSAL)
    shared = config.make_layer(
        Width.of(DIM, HEADS, GROUPS), cross=False, padded=False, scale=1.0, rngs=nnx.Rngs(0)
    )
    for name in ("project", "output_projection"):
        nnx.update(getattr(shared, name), nnx.state(getattr(full, name)))
    graph, params = nnx.split((full, shared), nnx.Param)[0], nnx.state((full, shared), nnx.Param)

    def passes(params, count):
        layers, carry = nnx.merge(graph, params), {}
        for layer in layers[:count]:
            y, carry = layer.with_carry(x, carry=carry)
        return carry["penalty"].sum(), y

    (one, y), (two, again) = passes(params, 1), passes(params, 2)
    assert apart(y, again) < 1e-12 and apart(2 * one, two) < 1e-12
    slope_of_one, slope_of_two = (jax.grad(lambda p, n=n: passes(p, n)[0])(params) for n in (1, 2))
    own, both = (slope[0]["engine"]["inputs"]["selection"] for slope in (slope_of_one, slope_of_two))
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(both), strict=True):
        assert np.abs(a).max() > 0 and apart(2 * a, b) < 1e-12
    assert not any("selection" in str(path) for path in nnx.to_flat_state(nnx.state(shared, nnx.Param)).paths)
