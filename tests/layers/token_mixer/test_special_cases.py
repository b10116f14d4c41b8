"""Where a layer is another, decoding in cross-attention and in whole networks, and what is refused."""

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
    tokens,
    whole,
)
from oracles import layers as oracle

from attnkit.layers.heads import columns_by_head
from attnkit.layers.token_mixer.cross_layer import CrossLayer
from attnkit.layers.token_mixer.differential import Differential
from attnkit.layers.token_mixer.exclusive import Exclusive
from attnkit.layers.token_mixer.gated import Gated
from attnkit.layers.token_mixer.head_size import HeadSize
from attnkit.layers.token_mixer.latent import Latent
from attnkit.layers.token_mixer.persistent_memory import PersistentMemory
from attnkit.layers.token_mixer.residual_attention import ResidualAttention
from attnkit.layers.token_mixer.talking_heads import TalkingHeads
from attnkit.layers.token_mixer.tensor_product import TensorProduct
from attnkit.layers.token_mixer.value_residual import ValueResidual
from attnkit.masks.contract import Data
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.points import observe
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

SLOW = pytest.mark.slow  # some seconds each, with nothing new but the layer
TURNED = {"position": (Rotary(),), **CAUSAL}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def like(layer, other):
    """`layer` with the plain projections of `other`."""
    layer.project.query, layer.project.key_value = other.project.query, other.project.key_value
    layer.output_projection.output = other.output_projection.output
    return layer


@pytest.mark.parametrize("mixer", [TalkingHeads(**TURNED), HeadSize(**TURNED), ValueResidual(**TURNED)])
def test_some_start_as_plain_attention(mixer):
    plain, x = made(Attention(**TURNED), 3), tokens()
    same = like(made(mixer, 3, start=True), plain)
    assert apart(called(same, x), called(plain, x)) < 1e-14


def test_residual_attention_is_plain_in_the_lowest_layer():
    plain, x = made(Attention(**TURNED), 3), tokens()
    assert apart(called(like(made(ResidualAttention(**TURNED), 3), plain), x), called(plain, x)) < 1e-14


def test_talking_heads_that_mix_one_thing_leave_the_other_alone():
    plain, x = made(Attention(**CAUSAL), 3), tokens()
    for mixes in ("logits", "weights"):
        layer = made(TalkingHeads(mixes=mixes, **CAUSAL), 3)
        own = layer.engine.parts["position"][0]["mix"] if mixes == "logits" else layer.output_projection.mix
        own[...] = jnp.eye(HEADS)
        assert apart(like(layer, plain)(x), called(plain, x)) < 1e-14


def test_differential_attention_with_factor_zero_is_normalized_attention_of_half_width():
    mixer = Differential(lambda_init=0.0, **CAUSAL)
    layer, x = made(mixer), tokens()
    layer.output_projection.a[...] = jnp.zeros((2, 2))
    plain = made(HeadSize(key_dim=2, **CAUSAL))
    half = DIM // 2
    plain.project.query.kernel[...] = layer.project.query.kernel[...][:, :half]
    keys, values = oracle.key_value(layer.project.key_value.kernel[...], 2 * HEADS, 2)
    values = values.reshape(DIM, 2, HEADS, 2).transpose(0, 2, 1, 3).reshape(DIM, DIM)
    both = columns_by_head(jnp.asarray(keys[:, :half]), jnp.asarray(values), HEADS)
    plain.project.key_value.kernel[...] = both
    heads = observe(plain, read=["weighted_values"])(jnp.asarray(x)).values["weighted_values"]
    expected = (
        heads
        / jnp.sqrt(jnp.mean(heads**2, axis=-1, keepdims=True) + 1e-6)
        * layer.output_projection.norm.scale[...]
    )
    merged = expected.transpose(0, 2, 1, 3).reshape(*x.shape)
    assert apart(called(layer, x), merged @ layer.output_projection.output.kernel[...]) < 1e-12


def test_a_latent_as_wide_as_the_token_is_multi_head_attention():
    plain, x = made(Attention(**CAUSAL)), tokens()
    layer = made(Latent(latent=DIM, rotary=0, normalize=False, **CAUSAL))
    layer.project.down.kernel[...] = jnp.eye(DIM)
    layer.project.query = plain.project.query
    both = oracle.key_value(plain.project.key_value.kernel[...], HEADS, DIM // HEADS)
    layer.project.up_key.kernel[...], layer.project.up_value.kernel[...] = map(jnp.asarray, both)
    layer.output_projection.output = plain.output_projection.output
    assert apart(called(layer, x), called(plain, x)) < 1e-13
    assert apart(decoded([layer], x, (1, 1, 1, 1, 1)), x + called(layer, x)) < 1e-13


def test_a_latent_cache_holds_nothing_but_the_latent_and_the_turning_key():
    state = made(Latent(latent=7, rotary=2, **CAUSAL)).start(2, 11, jnp.float32)
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim > 1) == 2 * 11 * 9


def test_open_gates_change_nothing_and_closed_ones_give_zeros():
    plain, x = made(Attention(**CAUSAL), 3), np.abs(tokens())
    layer = like(made(Gated(**CAUSAL), 3), plain)
    layer.output_projection.gate.kernel[...] = jnp.full((DIM, DIM), 100.0)
    assert apart(called(layer, x), called(plain, x)) < 1e-14
    layer.output_projection.gate.kernel[...] = jnp.full((DIM, DIM), -100.0)
    assert apart(called(layer, x), 0) < 1e-14


CROSSING = [
    TalkingHeads(),
    Differential(),
    Gated(gates="value"),
    Latent(latent=7, rotary=2),
    TensorProduct(position=(Rotary(),)),
    PersistentMemory(count=3),
]


@pytest.mark.parametrize(
    "mixer",
    [
        pytest.param(mixer, id=type(mixer).__name__, marks=[] if isinstance(mixer, Latent) else SLOW)
        for mixer in CROSSING
    ],
)
def test_cross_attention_decodes_as_it_reads(mixer):
    layer = made(mixer, 3, cross=True, padded=True)
    x, memory, data = tokens(), tokens(2, count=7), Data(scalar={"length": jnp.array([7, 3])})
    read = called(layer, x, memory, data=data)
    step = compiled([layer], lambda one, piece, state: one[0].step(piece, state, data=data))
    state, found = layer.start(2, 5, x.dtype, memory), []
    for n in range(5):
        y, state = step(x[:, n : n + 1], state)
        found.append(y)
    assert apart(jnp.concatenate(found, 1), read) < 1e-12


@pytest.mark.parametrize("position", [pytest.param(Alibi(), marks=SLOW), Fox()])
def test_borrowed_keys_and_values_decode_with_any_position(position):
    mixers = [Attention(position=(position,), **CAUSAL), *[CrossLayer(position=(position,), **CAUSAL)] * 2]
    layers, x = [made(mixer, 3, depth=n) for n, mixer in enumerate(mixers)], tokens()
    for n, layer in enumerate(layers):
        layer.check_below(layers[:n])
    assert apart(decoded(layers, x, (1,) * 5), whole(layers, x)) < 1e-12


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param((Attention(**TURNED), CrossLayer(**TURNED)), id="borrowed"),
        pytest.param((ValueResidual(**TURNED),), id="values", marks=SLOW),
    ],
)
def test_a_network_decodes_what_its_layers_hand_up(pattern):
    chosen = Decoder(depth=2, model_dim=DIM, heads=HEADS, kv_heads=3, mlp_ratio=1.0, mixer=pattern)
    network = chosen.build(Sizes(vocabulary=11, length=6), nnx.Rngs(0))
    batch = {"inputs": jnp.array([[1, 5, 7, 2], [3, 3, 9, 4]])}
    logits = compiled([network], lambda one, batch: one[0](batch).logits)(batch)
    step = compiled([network], lambda one, state, new: one[0].step(state, new))
    state, found = network.start(batch, 6), []
    for n in range(4):
        y, state = step(state, batch["inputs"][:, n : n + 1])
        found.append(y)
    np.testing.assert_allclose(jnp.concatenate(found, 1), logits, atol=2e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: (
                made(Differential(), depth=0) and made(HeadSize(key_dim=3, position=(Rotary(),)))(tokens())
            ),
            "even",
        ),
        (lambda: made(CrossLayer()), "no layer below with keys"),
        (lambda: made(CrossLayer(), cross=True), "not for cross-attention"),
        (lambda: made(Exclusive(), cross=True), "no value of its own"),
        (lambda: made(ValueResidual(), cross=True), "not for cross-attention"),
        (lambda: made(ResidualAttention(position=(Alibi(),))), "one by one"),
        (lambda: made(ResidualAttention(cap=3.0)), "leave it out"),
        (lambda: made(TensorProduct(position=(Fox(),))), "token inputs"),
        (lambda: made(CrossLayer(), depth=1).check_below([]), "no attention layer"),
        (lambda: made(CrossLayer(), 3, depth=1).check_below([made(Attention(), 2)]), "no attention layer"),
        (
            lambda: made(CrossLayer(), depth=1).check_below([made(Attention(position=(Rotary(),)))]),
            "differs from that",
        ),
        (lambda: made(ValueResidual(), depth=1).check_below([made(Latent())]), "same heads"),
    ],
)
def test_what_does_not_go_together_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
