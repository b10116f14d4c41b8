"""Native sparse attention against the paper's equations, by hand, and where it is plain attention."""

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
    decoded,
    looked,
    made,
    number,
    tokens,
    whole,
)
from oracles import layers, sparse

from attnkit import forms
from attnkit.conformance import check
from attnkit.layers.summaries import shared_strides
from attnkit.layers.token_mixer.native_sparse import NativeSparse, important
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

SLOW = pytest.mark.slow  # some seconds each, all of it compiling
GROUPS, HEAD_DIM, COUNT = 3, DIM // HEADS, 23
SMALL = NativeSparse(size=4, stride=2, block=6, count=3, first=1, local=1, window_size=4)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def expected(layer, chosen, x, turn):
    """The layer's output for one sequence, from the oracle."""
    sizes = [
        getattr(chosen, n) for n in ("size", "stride", "block", "count", "first", "local", "window_size")
    ]
    q = layers.split(x @ number(layer.query.kernel), HEADS)
    both = layers.split(x @ number(layer.key_value.kernel), 6 * GROUPS)
    if turn:
        for heads in (q, both[: 3 * GROUPS]):
            for rows in heads:
                rows[:] = [layers.rotated(row, t) for t, row in enumerate(rows)]
    gate = layers.split(layers.sigmoid(x @ number(layer.gate.kernel) + number(layer.gate.bias)), 3 * HEADS)

    def summarize(part):
        given = [number(a) for a in (part.place, part.up.kernel, part.up.bias, part.down.kernel)]
        return lambda rows: sparse.summary(rows, *given)

    parts, choices = [], []
    for group in range(GROUPS):
        own = [both[n * GROUPS + group] for n in range(6)]
        pairs = [(own[n], own[3 + n]) for n in range(3)]
        act = summarize(layer.key_summary), summarize(layer.value_summary)
        out, seen = sparse.native_sparse(q[2 * group : 2 * group + 2], *pairs, act, sizes)
        parts.append(out)
        choices.append(seen)
    out = np.concatenate(parts, axis=1)
    heads = sum(gate[c * HEADS : (c + 1) * HEADS] * out[c] for c in range(3))
    return np.concatenate(list(heads), axis=1) @ number(layer.output.kernel), choices


@pytest.mark.parametrize("turn", [pytest.param(False, marks=SLOW), True])
def test_equations(turn):
    layer, x = made(SMALL if not turn else with_rotary(), GROUPS), tokens(count=COUNT)
    right = [expected(layer, SMALL, one, turn) for one in x]
    assert apart(called(layer, x), np.stack([y for y, _ in right])) < 1e-12
    for _, (one, *others) in right:  # groups choose for themselves
        assert any(one != other for other in others)


def with_rotary():
    return NativeSparse(
        position=(Rotary(),), size=4, stride=2, block=6, count=3, first=1, local=1, window_size=4
    )


def test_importance_and_choice_by_hand():
    # Runs of 4 tokens every 2 tokens in blocks of 6: run 2 is tokens 4 to 7, half of it in each block.
    assert shared_strides(4, 2, 6, 5, 2).T.tolist() == [[2, 2, 1, 0, 0], [0, 0, 1, 2, 2]]
    chosen = NativeSparse(size=4, stride=2, block=6, count=3, first=1, local=1)
    fit = jnp.array([[[0.1, 0.5, 0.2, 0.5, 0.9, 0.0]]])
    # The query at 24 is in block 4: that one, the first, and of two equal ones the earlier.
    assert important(chosen, fit, jnp.array([24]))[0, 0].tolist() == [True, True, False, False, True, False]
    # In block 1, only two blocks have begun.
    assert important(chosen, fit, jnp.array([6]))[0, 0].tolist() == [True, True, False, False, False, False]


@SLOW
def test_a_branch_alone_is_plain_attention():
    plain, x = made(Attention(**CAUSAL), GROUPS), tokens(count=COUNT)
    everything = NativeSparse(size=4, stride=2, block=6, count=4, window_size=COUNT + 1)
    layer = made(everything, GROUPS)
    layer.query, layer.output = plain.project.query, plain.output_projection.output
    k, v = layers.key_value(plain.project.key_value.kernel[...], GROUPS, DIM // HEADS)
    layer.key_value.kernel[...] = jnp.concatenate([k, k, k, v, v, v], axis=1)
    layer.gate.kernel[...] = jnp.zeros_like(layer.gate.kernel[...])
    for branch in (1, 2):
        bias = jnp.full((3, HEADS), -1e3).at[branch].set(1e3)
        layer.gate.bias[...] = bias.reshape(-1)
        assert apart(called(layer, x), called(plain, x)) < 1e-13


def test_decoding_in_pieces_and_maps():
    layer, x = made(with_rotary(), GROUPS), tokens(count=COUNT)
    y, shown = looked(layer, x)
    assert apart(decoded([layer], x, pieces=(1,) * 9 + (7, 7)), whole([layer], x)) < 1e-12
    assert apart(y, called(layer, x)) == 0
    gate = jax.nn.sigmoid(layer.gate(jnp.asarray(x))).reshape(2, COUNT, 3, HEADS)
    runs = shown.shape[-1] - 2 * COUNT
    some = shown[..., :runs].sum(-1) > 0  # the first queries have no whole run to read
    total = jnp.where(some, gate[:, :, 0].transpose(0, 2, 1), 0) + gate[:, :, 1:].sum(2).transpose(0, 2, 1)
    assert apart(shown.sum(-1), total) < 1e-12
    assert not np.triu(np.asarray(shown[..., runs : runs + COUNT] + shown[..., runs + COUNT :]), 1).any()


@SLOW
def test_room_for_fewer_tokens_than_a_summary():
    layer, x = made(NativeSparse(), GROUPS), tokens(count=3)
    assert apart(decoded([layer], x, pieces=(1, 2)), whole([layer], x)) < 1e-12


@SLOW
def test_it_is_a_decoder_s_mixer():
    batch = {"inputs": jnp.arange(2 * COUNT).reshape(2, COUNT) % 7}
    network = Decoder(model_dim=DIM, heads=HEADS, kv_heads=GROUPS, depth=1, mixer=SMALL)
    assert network.build(Sizes(vocabulary=7, length=COUNT), nnx.Rngs(0))(batch).logits.shape == (2, COUNT, 7)


@SLOW
def test_contract():
    matrix = check(NativeSparse(**NativeSparse.checked_with), level="full")
    assert matrix.ok, f"\n{matrix}"


@SLOW
def test_by_blocks(monkeypatch):
    layer, x = made(SMALL, GROUPS), tokens(count=COUNT)
    graph, params = nnx.split(layer)

    def both(params):
        return jax.value_and_grad(lambda p: (nnx.merge(graph, p)(x) ** 3).sum())(params)

    def by_blocks(*given, **more):
        return attend(*given, **more, block=(5, 4))

    one, attend = jax.jit(lambda p: both(p))(params), forms.attend
    monkeypatch.setattr(forms, "attend", by_blocks)
    for a, b in zip(*map(jax.tree.leaves, (one, jax.jit(both)(params))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * float(np.abs(np.asarray(a)).max()))


def test_refusals():
    for wrong, named in (
        ({"size": 3}, "multiple of stride = 16"),
        ({"block": 16}, "at least size = 32"),
        ({"count": 2}, r"first \+ local = 3"),
    ):
        with pytest.raises(ValueError, match=named):
            NativeSparse(**wrong)
    with pytest.raises(ValueError, match="cannot follow"):
        made(NativeSparse(position=(Alibi(),)))
    with pytest.raises(ValueError, match="cross-attention"):
        made(NativeSparse(), cross=True)
