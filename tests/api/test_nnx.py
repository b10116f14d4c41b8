"""`ak.nnx`: equality with flax's module, decoding, and special cases worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnkit as ak
from attnkit import points

pytestmark = pytest.mark.one_python

BATCH, TOKENS, WIDTH, HEADS = 3, 7, 20, 5


def tokens(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def close(a, b, atol=2e-6):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=atol, rtol=0)


@nnx.jit
def step(layer, x, **given):
    return layer(x, decode=True, **given)


def pair(**options):
    """Flax's module and ours, with equal parameters."""
    theirs = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(1), **options)
    ours = ak.nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(2), **options)
    nnx.update(ours, nnx.state(theirs, nnx.Param))
    return theirs, ours


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"qkv_features": 15, "out_features": 11, "use_bias": False},
        {"num_kv_heads": 1, "normalize_qk": True},
        {"in_kv_features": 13},
        {"dtype": jnp.bfloat16},
    ],
)
def test_default_variant_is_the_module_of_flax(options):
    theirs, ours = pair(**options)
    q, k = tokens(2, BATCH, TOKENS, WIDTH), tokens(2, BATCH, 11, options.get("in_kv_features", WIDTH), seed=1)
    v = tokens(*k.shape, seed=2)
    allowed = jax.random.bernoulli(jax.random.key(4), 0.6, (2, BATCH, HEADS, TOKENS, 11)).at[..., 0].set(True)
    atol = 4e-2 if "dtype" in options else 2e-6

    @nnx.jit
    def outputs(layer):
        masks = (None, allowed, allowed[:, :, :1], allowed[:1, :1, :, :1])
        return [layer(*given, mask=mask) for given in ((q, k, v), (q, k)) for mask in masks]

    for own, right in zip(outputs(ours), outputs(theirs), strict=True):
        assert own.dtype == right.dtype
        close(own, right, atol)


def test_self_attention_and_its_gradient_are_those_of_flax():
    theirs, ours = pair()
    x = tokens(BATCH, TOKENS, WIDTH)
    causal = nnx.make_causal_mask(jnp.ones((BATCH, TOKENS)))

    def gradient(layer, **given):
        return nnx.jit(nnx.grad(lambda layer: jnp.sum(layer(x, **given) ** 2)))(layer)

    expected = gradient(theirs, mask=causal)
    for given in ({"is_causal": True}, {"mask": causal}):
        found = gradient(ours, **given)
        flat = dict(nnx.to_flat_state(found))
        for path, leaf in nnx.to_flat_state(expected):
            close(flat[path][...], leaf[...], 2e-4)


def test_decoding_is_that_of_flax_and_the_full_pass():
    theirs, ours = pair()
    x = tokens(2, BATCH, TOKENS, WIDTH)
    for layer in (theirs, ours):
        layer.init_cache((2, BATCH, 9, WIDTH))
    full = nnx.jit(lambda layer: layer(x, is_causal=True))(ours)
    for t in range(TOKENS):
        one = x[..., t : t + 1, :]
        close(step(ours, one), step(theirs, one))
    close(ours.cached_key[...], theirs.cached_key[...])
    assert int(ours.cache_index[...]) == TOKENS
    ours.init_cache((2, BATCH, 9, WIDTH))
    pieces = [step(ours, x[..., a:b, :]) for a, b in ((0, 4), (4, 5), (5, 7))]
    close(jnp.concatenate(pieces, axis=-2), full)


@pytest.mark.parametrize(
    "variant",
    [
        ak.Attention(position=(ak.Rotary(), ak.Fox()), mask=ak.Causal()),
        ak.Attention(position=ak.Shaw(), mask=ak.Causal() & ak.Window(back=2), normalizer=ak.SoftmaxOne()),
        ak.Gemma2(cap=3.0),
    ],
)
def test_decoding_equals_the_full_pass_under_jit(variant):
    layer = ak.nnx.MultiHeadAttention(HEADS, WIDTH + 20, variant=variant, decode=False, rngs=nnx.Rngs(0))
    x = tokens(BATCH, TOKENS, WIDTH + 20)
    layer.init_cache(x.shape)
    pieces = [step(layer, x[:, t : t + 1]) for t in range(TOKENS)]
    close(jnp.concatenate(pieces, axis=1), nnx.jit(lambda layer: layer(x))(layer))


def test_a_mask_while_decoding_is_over_the_cache():
    layer = ak.nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(0))
    x = tokens(BATCH, TOKENS, WIDTH)
    allowed = jax.random.bernoulli(jax.random.key(4), 0.6, (BATCH, 1, TOKENS, TOKENS))
    layer.init_cache(x.shape)
    pieces = [step(layer, x[:, a:b], mask=allowed[:, :, a:b]) for a, b in ((0, 3), (3, 4), (4, TOKENS))]
    whole = nnx.jit(lambda layer: layer(x, mask=allowed, is_causal=True))(layer)
    close(jnp.concatenate(pieces, axis=1), whole)


def test_a_query_without_keys_gives_the_bias_of_the_output():
    layer = ak.nnx.MultiHeadAttention(1, 4, decode=False, rngs=nnx.Rngs(0))
    layer.out.bias[...] = jnp.arange(4.0)
    found = layer(jnp.ones((2, 4)), mask=jnp.zeros((1, 2, 2), bool))
    assert found.tolist() == [[0.0, 1.0, 2.0, 3.0]] * 2


def test_dropout_and_weights():
    layer = ak.nnx.MultiHeadAttention(HEADS, WIDTH, dropout_rate=0.5, decode=False, rngs=nnx.Rngs(0))
    x = tokens(BATCH, TOKENS, WIDTH)
    with pytest.raises(ValueError, match="deterministic = None"):
        layer(x)

    @nnx.jit
    def outputs(layer):
        drawn = [layer(x, deterministic=False, rngs=nnx.Rngs(dropout=n)) for n in (1, 2, 1)]
        return layer(x, deterministic=True), layer(x, deterministic=True, sow_weights=True), *drawn

    plain, looked_into, a, b, again = outputs(layer)
    close(plain, looked_into)
    (sown,) = layer.attention_weights.get_value()
    assert sown.shape == (BATCH, HEADS, TOKENS, TOKENS)
    close(sown.sum(-1), jnp.ones((BATCH, HEADS, TOKENS)))
    close(a, again)
    assert float(jnp.abs(a - b).max()) > 0.01


def test_points_of_a_layer_in_a_module_of_ones_own():
    """Editing each head's output to zero leaves the bias; the weights read are those that are sown."""
    layer = ak.nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(0))
    x = tokens(BATCH, TOKENS, WIDTH)
    layer(x, sow_weights=True)
    (sown,) = layer.attention_weights.get_value()
    read = points.observe(layer, read=["q", "weights"])(x)
    close(read.values["weights"], sown)
    assert read.values["q"].shape == (BATCH, HEADS, TOKENS, WIDTH // HEADS)
    silent = points.observe(layer, edit={"head_output": jnp.zeros_like})(x).output
    close(silent, jnp.broadcast_to(layer.out.bias[...], x.shape))


@pytest.mark.parametrize(
    "variant",
    [
        ak.Gla(),
        ak.GatedDeltaNet(conv_size=3),
        ak.Gru(),
        ak.Differential(mask=ak.Causal()),
        ak.StickBreakingAttention(),
    ],
)
def test_token_mixers_decode_as_they_read(variant):
    layer = ak.nnx.TokenMixer(4, 24, variant=variant, rngs=nnx.Rngs(0))
    x = tokens(2, BATCH, TOKENS, 24)
    layer.init_cache(x.shape)
    pieces = [step(layer, x[..., t : t + 1, :]) for t in range(4)]
    close(jnp.concatenate(pieces, axis=-2), nnx.jit(lambda layer: layer(x))(layer)[..., :4, :], 1e-5)


def test_a_layer_in_a_module_of_ones_own_learns():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.norm = ak.nnx.RMSNorm(WIDTH)
            self.attention = ak.nnx.MultiHeadAttention(
                HEADS, WIDTH, variant=ak.Attention(position=ak.T5Buckets()), decode=False, rngs=rngs
            )
            self.recurrence = ak.nnx.RecurrentAttention(HEADS, WIDTH, variant=ak.Gla(), rngs=rngs)

        def __call__(self, x):
            x = x + self.attention(self.norm(x))
            return x + self.recurrence(x)

    net = Net(nnx.Rngs(0))
    x = tokens(BATCH, TOKENS, WIDTH)
    gradient = nnx.jit(nnx.grad(lambda net: jnp.sum(net(x) ** 2)))(net)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))


def mixer(variant, **options):
    return ak.nnx.TokenMixer(2, 8, variant=variant, axis="devices", rngs=nnx.Rngs(0), **options)


def made(*sizes, **options):
    return ak.nnx.MultiHeadAttention(*sizes, **options, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(2, 8, precision="high"), "precision"),
        (lambda: made(2, 8)(jnp.ones((3, 8))), "decode = None"),
        (lambda: made(2, 8, decode=True)(jnp.ones((3, 8))), "no cache"),
        (lambda: made(2, 8, decode=False)(jnp.ones((3, 6))), "width of 8"),
        (lambda: made(2, 8, in_kv_features=6, variant=ak.Attention(position=ak.Fox())), "in_kv_features = 6"),
        (
            lambda: mixer(ak.Gru()),
            "axis = 'devices': CellLayer mixes tokens in a way of its own",
        ),
        (lambda: mixer(ak.PersistentMemory()), "PersistentEngine attends to more than the tokens"),
        (lambda: mixer(ak.Gla(), cross=True), "with cross = True it keeps the state after a whole memory"),
        (lambda: mixer(ak.Gla(), decode=True)(jnp.ones((3, 8))), "decode and points need whole sequences"),
        (lambda: points.names(mixer(ak.Gla()), jnp.ones((3, 8))), "decode and points need whole sequences"),
        (
            lambda: mixer(ak.Gla())(jnp.ones((3, 8))),
            "axis = 'devices': no mesh axis of this name",
        ),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()
