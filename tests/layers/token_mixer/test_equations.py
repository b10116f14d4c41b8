"""Each layer against loops written from its paper's equations, with parameters away from their start."""

import jax
import numpy as np
import pytest
from layers.token_mixer.setting import (
    CAUSAL,
    HEADS,
    TOKENS,
    apart,
    called,
    looked,
    made,
    number,
    tokens,
    whole,
)
from oracles import layers as oracle

from attnkit.layers.token_mixer.attention_on_attention import AttentionOnAttention
from attnkit.layers.token_mixer.cross_layer import CrossLayer
from attnkit.layers.token_mixer.deltaformer import Deltaformer
from attnkit.layers.token_mixer.differential import Differential
from attnkit.layers.token_mixer.differential_v2 import DifferentialV2
from attnkit.layers.token_mixer.exclusive import Exclusive
from attnkit.layers.token_mixer.gated import Gated
from attnkit.layers.token_mixer.head_size import HeadSize
from attnkit.layers.token_mixer.latent import Latent
from attnkit.layers.token_mixer.multi_token import MultiToken
from attnkit.layers.token_mixer.persistent_memory import PersistentMemory
from attnkit.layers.token_mixer.residual_attention import ResidualAttention
from attnkit.layers.token_mixer.talking_heads import TalkingHeads
from attnkit.layers.token_mixer.tensor_product import TensorProduct
from attnkit.layers.token_mixer.two_simplicial import TwoSimplicial
from attnkit.layers.token_mixer.value_residual import ValueResidual
from attnkit.masks.window import Window
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

EXACT = 1e-12


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def qkv(layer, x, groups=HEADS, key_dim=4, value_dim=4):
    """Queries, keys and values of one sequence, `[heads, tokens, dim]`, shared keys repeated."""
    project = layer.project
    q = oracle.split(x @ number(project.query.kernel), HEADS)
    both = oracle.key_value(number(project.key_value.kernel), groups, key_dim)
    k, v = (oracle.split(x @ kernel, groups) for kernel in both)
    return q, np.repeat(k, HEADS // groups, 0), np.repeat(v, HEADS // groups, 0)


def joined(heads):
    return np.concatenate(list(heads), axis=1)


def attended(q, k, v):
    return np.stack([oracle.attention(*one)[0] for one in zip(q, k, v, strict=True)])


@pytest.mark.parametrize("groups", [2, 6])
def test_talking_heads(groups):
    layer, x = made(TalkingHeads(**CAUSAL), groups), tokens()
    y, shown = looked(layer, x)
    before, after = number(layer.engine.parts["position"][0]["mix"]), number(layer.output_projection.mix)
    for b in range(2):
        heads, spoken = oracle.talking(*qkv(layer, x[b], groups), before, after)
        assert apart(y[b], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT
        assert apart(shown[b], spoken) < EXACT


def test_deltaformer():
    layer, x = made(Deltaformer(position=(Rotary(),))), tokens()
    layer.rate.bias[...] = np.linspace(0.2, 1.2, HEADS)
    y, shown = looked(layer, x)
    q, k, v = qkv(layer, x[0], HEADS)
    q, k = (np.array([[oracle.rotated(t, i) for i, t in enumerate(head)] for head in a]) for a in (q, k))
    rates = x[0] @ number(layer.rate.kernel) + number(layer.rate.bias)
    heads = oracle.deltaformer(q, k, v, rates)
    assert apart(y[0], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT
    assert apart(shown[0] @ v, heads) < EXACT


def test_two_simplicial():
    layer, x = made(TwoSimplicial(mask=Window(back=3), second_window_size=2), 3), tokens()
    y, shown = looked(layer, x)
    q, k, v = qkv(layer, x[0], 3)
    second_k, second_v = np.split(x[0] @ number(layer.second.kernel), 2, axis=1)
    second = (np.repeat(oracle.split(a, 3), HEADS // 3, 0) for a in (second_k, second_v))
    heads = oracle.two_simplicial(q, k, v, *second, 4, 2)
    assert apart(y[0], joined(heads) @ number(layer.join.output.kernel)) < EXACT
    assert apart(np.einsum("hijd,hjd->hid", shown[0], v), heads) < EXACT


def test_multi_token():
    layer, x = made(MultiToken(query_size=3, key_size=3, head_size=2), 3), tokens()
    random = np.random.default_rng(0)
    layer.kernel[...] = random.normal(size=layer.kernel[...].shape)
    layer.mix[...] = random.normal(size=layer.mix[...].shape)
    y, shown = looked(layer, x)
    weights = oracle.multi_token(*qkv(layer, x[0], 3)[:2], number(layer.kernel), number(layer.mix))
    assert apart(shown[0], weights) < EXACT
    heads = weights @ qkv(layer, x[0], 3)[2]
    heads = np.array([[oracle.rms(row, number(layer.norm.scale)) for row in head] for head in heads])
    assert apart(y[0], joined(heads) @ number(layer.join.output.kernel)) < EXACT


@pytest.mark.parametrize("groups", [2, 6])
def test_differential(groups):
    layer, x = made(Differential(**CAUSAL), groups, depth=2), tokens()
    y, shown = looked(layer, x)
    a, b = number(layer.output_projection.a), number(layer.output_projection.b)
    start = 0.8 - 0.6 * np.exp(-0.6)
    factor = np.exp(a[0] @ b[0]) - np.exp(a[1] @ b[1]) + start
    q = oracle.split(x[1] @ number(layer.project.query.kernel), 2 * HEADS).reshape(2, HEADS, TOKENS, 2)
    both = oracle.key_value(number(layer.project.key_value.kernel), 2 * groups, 2)
    k, halves = (oracle.split(x[1] @ kernel, 2 * groups) for kernel in both)
    k = k.reshape(2, groups, TOKENS, 2)
    v = np.concatenate([halves[:groups], halves[groups:]], axis=2)
    k, v = np.repeat(k, HEADS // groups, 1), np.repeat(v, HEADS // groups, 0)
    heads = oracle.differential(q, k, v, factor, start, number(layer.output_projection.norm.scale))
    assert apart(y[1], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT
    assert apart(shown[1].sum(-1), 1 - factor) < EXACT


@pytest.mark.parametrize("groups", [2, 6])
def test_differential_v2(groups):
    layer, x = made(DifferentialV2(**CAUSAL), groups), tokens()
    y, shown = looked(layer, x)
    q = oracle.split(x[1] @ number(layer.project.query.kernel), 2 * HEADS)
    both = oracle.key_value(number(layer.project.key_value.kernel), groups, 4)
    k, v = (np.repeat(oracle.split(x[1] @ a, groups), HEADS // groups, 0) for a in both)
    raw = x[1] @ number(layer.output_projection.factor.kernel)
    heads = oracle.differential_v2(q, k, v, raw)
    assert apart(y[1], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT
    assert apart(shown[1].sum(-1), 1 - oracle.sigmoid(raw).T) < EXACT


@pytest.mark.parametrize("each", ["number", "head"])
def test_gates(each):
    x = tokens()
    layer = made(Gated(each=each, **CAUSAL), 3)
    gate = oracle.split(oracle.sigmoid(x[0] @ number(layer.output_projection.gate.kernel)), HEADS)
    heads = gate * attended(*qkv(layer, x[0], 3))
    assert apart(called(layer, x)[0], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT
    layer = made(Gated(each=each, gates="value", **CAUSAL), 3)
    gate = oracle.split(oracle.sigmoid(x[0] @ number(layer.project.gate.kernel)), 3)
    q, k, v = qkv(layer, x[0], 3)
    heads = attended(q, k, np.repeat(gate, 2, 0) * v)
    assert apart(called(layer, x)[0], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT


def test_exclusive():
    layer, x = made(Exclusive(**CAUSAL), 3), tokens()
    q, k, v = qkv(layer, x[0], 3)
    y = attended(q, k, v)
    for h in range(HEADS):
        for i in range(TOKENS):
            y[h, i] -= (y[h, i] @ v[h, i]) / (v[h, i] @ v[h, i]) * v[h, i]
    assert np.abs(np.einsum("hid,hid->hi", y, v)).max() < EXACT
    assert apart(called(layer, x)[0], joined(y) @ number(layer.output_projection.output.kernel)) < EXACT


def test_attention_on_attention():
    layer, x = made(AttentionOnAttention(**CAUSAL), 3), tokens()
    q, k, v = qkv(layer, x[0], 3)
    both = np.concatenate([joined(q), joined(attended(q, k, v))], axis=1)
    information, gate = (
        both @ number(linear.kernel) + number(linear.bias)
        for linear in (layer.output_projection.information, layer.output_projection.gate)
    )
    assert apart(called(layer, x)[0], oracle.sigmoid(gate) * information) < EXACT


def test_head_size():
    layer, x = made(HeadSize(key_dim=2, value_dim=7, **CAUSAL), 3), tokens()
    heads = attended(*qkv(layer, x[0], 3, 2, 7))
    assert apart(called(layer, x)[0], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT


def test_persistent_memory():
    layer, x = made(PersistentMemory(count=3, **CAUSAL), 3), tokens()
    y, shown = looked(layer, x)
    q, k, v = qkv(layer, x[0], 3)
    keys, values = (np.repeat(number(a), 2, 0) for a in (layer.engine.keys, layer.engine.values))
    heads = np.zeros((HEADS, TOKENS, 4))
    for h in range(HEADS):
        for i in range(TOKENS):
            every = np.concatenate([keys[h], k[h, : i + 1]])
            w = oracle.softmax(every @ q[h, i] / 2)
            heads[h, i] = w @ np.concatenate([values[h], v[h, : i + 1]])
            assert apart(shown[0, h, i, : i + 1], w[3:]) < EXACT
    assert apart(y[0], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT


def test_latent():
    layer, x = made(Latent(latent=7, query_latent=5, rotary=2, **CAUSAL)), tokens()
    project, tokens_ = layer.project, x[0]
    asked = tokens_ @ number(project.narrow.kernel)
    asked = np.stack([oracle.rms(row, number(project.query_norm.scale)) for row in asked])
    q = oracle.split(asked @ number(project.query.kernel), HEADS)
    kept = tokens_ @ number(project.down.kernel)
    c = np.stack([oracle.rms(row, number(project.norm.scale)) for row in kept[:, :7]])
    k = oracle.split(c @ number(project.up_key.kernel), HEADS)
    v = oracle.split(c @ number(project.up_value.kernel), HEADS)
    turning = np.stack([oracle.rotated(row, t) for t, row in enumerate(kept[:, 7:])])
    heads = []
    for h in range(HEADS):
        turned = np.stack([oracle.rotated(row, t) for t, row in enumerate(q[h, :, 4:])])
        both = np.concatenate([q[h, :, :4], turned], 1), np.concatenate([k[h], turning], 1)
        heads.append(oracle.attention(*both, v[h])[0])
    assert apart(called(layer, x)[0], joined(heads) @ number(layer.output_projection.output.kernel)) < EXACT


def test_tensor_product():
    layer, x = made(TensorProduct(rank=2, query_rank=3, position=(Rotary(),), **CAUSAL)), tokens()
    project, turned = layer.project, oracle.rotated
    q, k, v = (np.zeros((HEADS, TOKENS, 4)) for _ in range(3))
    for t in range(TOKENS):
        asked = (x[0, t] @ number(project.query.kernel)).reshape(3, HEADS + 4)
        kept = (x[0, t] @ number(project.key_value.kernel)).reshape(2, 2 * (HEADS + 4))
        for r in range(3):
            q[:, t] += np.outer(asked[r, :HEADS], turned(asked[r, HEADS:], t)) / 3
        for r in range(2):
            b_key, b_value, a_value, a_key = np.split(kept[r], [4, 8, 8 + HEADS])
            k[:, t] += np.outer(a_key, turned(b_key, t)) / 2
            v[:, t] += np.outer(a_value, b_value) / 2
    assert (
        apart(called(layer, x)[0], joined(attended(q, k, v)) @ number(layer.output_projection.output.kernel))
        < EXACT
    )


def test_value_residual():
    layers, x = [made(ValueResidual(**CAUSAL), 3, depth=n) for n in range(3)], tokens()
    h, lowest = x[0], None
    for n, layer in enumerate(layers):
        q, k, v = qkv(layer, h, 3)
        lowest = v if lowest is None else lowest
        if n:
            factors = number(layer.project.factors)
            v = factors[0] * lowest + factors[1] * v
        h = h + joined(attended(q, k, v)) @ number(layer.output_projection.output.kernel)
    assert apart(whole(layers, x)[0], h) < EXACT


def test_cross_layer():
    patterns = [Attention(**CAUSAL), CrossLayer(**CAUSAL), CrossLayer(**CAUSAL)]
    layers, x = [made(mixer, 3, depth=n) for n, mixer in enumerate(patterns)], tokens()
    h, kept = x[0], None
    for n, layer in enumerate(layers):
        if n:
            q = oracle.split(h @ number(layer.query.kernel), HEADS)
        else:
            q, *kept = qkv(layer, h, 3)
        h = h + joined(attended(q, *kept)) @ number(layer.output_projection.output.kernel)
    assert apart(whole(layers, x)[0], h) < EXACT


def test_residual_attention():
    mixer = ResidualAttention(position=(Rotary(),), **CAUSAL)
    layers, x = [made(mixer, 3, depth=n) for n in range(3)], tokens()
    h, sums = x[0], np.zeros((HEADS, TOKENS, TOKENS))
    for layer in layers:
        q, k, v = qkv(layer, h, 3)
        heads = []
        for n in range(HEADS):
            turned = [np.stack([oracle.rotated(row, t) for t, row in enumerate(a[n])]) for a in (q, k)]
            none = np.zeros((TOKENS, 4))
            heads.append(oracle.attention(none, none, v[n], sums[n] + turned[0] @ turned[1].T / 2)[0])
            sums[n] += turned[0] @ turned[1].T / 2
        h = h + joined(heads) @ number(layer.output_projection.output.kernel)
    assert apart(whole(layers, x)[0], h) < EXACT
