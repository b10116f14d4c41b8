import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.masks.causal import Causal
from attnkit.models.contract import Sizes, attention_maps
from attnkit.models.decoder import Decoder
from attnkit.models.encoder_decoder import EncoderDecoder
from attnkit.points import observe
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

SIZES = Sizes(vocabulary=17, length=11, source_vocabulary=13, source_length=7)
DECODER = Decoder(depth=1, model_dim=24, heads=6)
TRANSLATOR = EncoderDecoder(encoder_depth=1, decoder_depth=1, model_dim=24, heads=6)
POSITIONS = {"none": (), "rotary": (Rotary(),), "alibi": (Alibi(),)}


@pytest.fixture
def batch():
    a, b = jax.random.split(jax.random.key(7))
    return {
        "inputs": jax.random.randint(a, (3, 11), 0, 17),
        "source": jax.random.randint(b, (3, 7), 0, 13),
        "source_length": jnp.array([7, 2, 5]),
    }


@functools.cache
def build(model, seed=0):
    return model.build(SIZES, nnx.Rngs(seed))


def call(network, batch, **more):
    graph, params = nnx.split(network)
    run = jax.jit(lambda params, batch: nnx.merge(graph, params)(batch, **more))
    return run(params, batch)


def maps_of(network, batch, **more):
    graph, params = nnx.split(network)
    run = jax.jit(lambda params, batch: attention_maps(nnx.merge(graph, params), batch, **more))
    return run(params, batch)


def decoded(network, batch, pieces):
    """Logits from decoding `inputs` in pieces of the given lengths."""
    graph, params = nnx.split(network)
    room = batch["inputs"].shape[1]
    start = jax.jit(lambda params, batch: nnx.merge(graph, params).start(batch, room))
    step = jax.jit(lambda params, state, tokens: nnx.merge(graph, params).step(state, tokens))
    state = start(params, batch)
    logits = []
    for tokens in jnp.split(batch["inputs"], np.cumsum(pieces)[:-1], axis=1):
        found, state = step(params, state, tokens)
        logits.append(found)
    return jnp.concatenate(logits, axis=1)


@pytest.mark.parametrize(
    ("position", "kv_heads", "absolute"),
    [("none", 3, "sinusoidal"), ("rotary", 1, "none"), ("alibi", None, "none")],
)
def test_decoding_gives_the_logits_of_the_whole(position, kv_heads, absolute, batch):
    mixer = Attention(position=POSITIONS[position], mask=Causal())
    network = build(dataclasses.replace(DECODER, mixer=mixer, kv_heads=kv_heads, absolute=absolute))
    whole = call(network, batch).logits
    np.testing.assert_allclose(decoded(network, batch, [3] + [1] * 8), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (DECODER, {"tied": True}),
        (DECODER, {"absolute": "learned", "activation": "swiglu"}),
        (TRANSLATOR, {}),
        (TRANSLATOR, {"order": "post", "norm": "rms"}),
    ],
)
def test_the_first_loss_is_that_of_knowing_nothing(model, change, batch):
    network = build(dataclasses.replace(model, model_dim=96, **change))
    logits = call(network, batch).logits
    loss = -jax.nn.log_softmax(logits).mean()
    assert abs(float(loss) - math.log(17)) < 0.15
    labels = jnp.roll(batch["inputs"], -1, axis=1)
    label_loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()
    assert abs(float(label_loss) - math.log(17)) < 0.15


def test_source_tokens_that_do_not_exist_change_nothing_whatever_the_mask(batch):
    network = build(dataclasses.replace(TRANSLATOR, encoder=Attention(), cross=Attention()))
    real = jnp.arange(7) < batch["source_length"][:, None]
    before = call(network, batch).logits
    after = call(network, dict(batch, source=jnp.where(real, batch["source"], 12 - batch["source"]))).logits
    np.testing.assert_array_equal(before, after)
    other = call(network, dict(batch, source=12 - batch["source"])).logits
    assert bool(jnp.all(jnp.any(before != other, axis=(1, 2))))


def test_maps_are_named_and_looking_changes_nothing(batch):
    network = build(dataclasses.replace(TRANSLATOR, decoder_depth=2, dropout=0.3))
    key = jax.random.key(0)
    maps = maps_of(network, batch, key=key)
    read = [f"{name}.weights" for name in maps]
    graph, params = nnx.split(network)
    run = jax.jit(lambda params, *given: observe(nnx.merge(graph, params), read=read)(*given, key=key))
    (logits, _), values = run(params, batch)
    for name, weights in maps.items():
        np.testing.assert_allclose(values[f"{name}.weights"], weights, atol=1e-6)
    np.testing.assert_allclose(call(network, batch, key=key).logits, logits, atol=1e-6)
    shapes = {name: weights.shape for name, weights in maps.items()}
    own, cross = (3, 6, 11, 11), (3, 6, 11, 7)
    assert shapes == {
        "encoder.0.self": (3, 6, 7, 7),
        "decoder.0.self": own,
        "decoder.0.cross": cross,
        "decoder.1.self": own,
        "decoder.1.cross": cross,
    }
    for weights in maps.values():
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert not maps["decoder.0.cross"][1, :, :, 2:].any()


def test_dropout_is_a_function_of_the_key(batch):
    network = build(dataclasses.replace(DECODER, dropout=0.3))
    still, one, again, other = (
        call(network, batch, key=key).logits
        for key in (None, jax.random.key(1), jax.random.key(1), jax.random.key(2))
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one, still)


@pytest.mark.slow
def test_bfloat16_parameters_make_a_bfloat16_network_with_float32_logits(batch):
    graph, params = nnx.split(build(dataclasses.replace(TRANSLATOR, absolute="sinusoidal")))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    exact = call(nnx.merge(graph, params), batch).logits
    network = nnx.merge(graph, half)
    logits, maps = call(network, batch).logits, maps_of(network, batch)
    assert logits.dtype == jnp.float32
    assert {weights.dtype for weights in maps.values()} == {jnp.dtype("float32")}
    np.testing.assert_allclose(logits, exact, atol=0.03)
    np.testing.assert_allclose(decoded(network, batch, [3] + [1] * 8), logits, atol=0.03)


def test_a_pattern_of_mixers_is_repeated_over_depth():
    rotary, alibi = (Attention(position=(part,), mask=Causal()) for part in (Rotary(), Alibi()))
    network = build(dataclasses.replace(DECODER, depth=5, mixer=(rotary, rotary, alibi)))
    found = [type(block.mixer.scored.position[0]) for block in network.stack.blocks]
    assert found == [Rotary, Rotary, Alibi, Rotary, Rotary]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            dataclasses.replace(DECODER, mixer=Attention()),
            "mixer = Attention: .* cannot be used in a decoder",
        ),
        (
            dataclasses.replace(TRANSLATOR, decoder=(Attention(),)),
            "decoder = Attention: .* cannot be used in a decoder",
        ),
        (dataclasses.replace(DECODER, heads=5), "model_dim = 24 must be a multiple of heads = 5"),
        (dataclasses.replace(DECODER, kv_heads=4), "heads = 6 must be a multiple of kv_heads = 4"),
        (dataclasses.replace(DECODER, mixer=()), "expected at least one mixer"),
    ],
)
def test_parts_that_do_not_fit_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        build(model)


def test_an_encoder_decoder_needs_a_source():
    with pytest.raises(ValueError, match="needs a task with a source"):
        TRANSLATOR.build(Sizes(vocabulary=17, length=11), nnx.Rngs(0))
