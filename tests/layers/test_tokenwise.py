import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.layers.block import Residual
from attnkit.layers.build import Width, build_layer
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.feed_forward import FeedForward
from attnkit.layers.linear import Linear
from attnkit.layers.norm import LayerNorm, RMSNorm
from attnkit.recurrence.variant.retnet import Retnet
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

RNGS = nnx.Rngs(0)


def test_linear_is_an_affine_map_of_the_last_axis():
    layer = Linear(2, 3, rngs=RNGS)
    layer.kernel[...] = jnp.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    layer.bias[...] = jnp.array([0.5, 0.0, -0.5])
    x = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [2.0, -1.0]]])
    expected = [[[1.5, 2, 2.5], [10.5, 20, 29.5]], [[11.5, 22, 32.5], [-7.5, -16, -24.5]]]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_linear_keeps_the_variance_of_its_input_times_scale(scale):
    x = jax.random.normal(jax.random.key(1), (503, 211))
    y = Linear(211, 307, scale=scale, rngs=nnx.Rngs(3))(x)
    assert float(jnp.std(y)) == pytest.approx(scale, rel=0.03)


def test_linear_computes_in_the_type_of_its_input():
    layer = Linear(3, 5, bias=2.0, rngs=RNGS)
    assert layer(jnp.ones((7, 3), jnp.bfloat16)).dtype == jnp.bfloat16
    np.testing.assert_array_equal(layer(jnp.zeros((1, 3))), np.full((1, 5), 2.0))
    assert Linear(3, 5, bias=None, rngs=RNGS).bias is None


def test_layer_norm_by_hand():
    # Mean 2, deviations -1, 0, 1, variance 2/3.
    unit = np.sqrt(3 / 2)
    np.testing.assert_allclose(
        LayerNorm(3)(jnp.array([1.0, 2.0, 3.0])), [-unit, 0, unit], rtol=1e-5, atol=1e-6
    )


def test_rms_norm_by_hand():
    # Mean square (9 + 16) / 2.
    norm = np.sqrt(12.5)
    np.testing.assert_allclose(RMSNorm(2, 3.5)(jnp.array([3.0, -4.0])), [0.75, -1.0], rtol=1e-6)
    np.testing.assert_allclose(RMSNorm(2)(jnp.array([3.0, -4.0])), [3 / norm, -4 / norm], rtol=1e-5)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_norms_scale_each_number_after_normalizing_it(norm):
    layer = norm(2)
    layer.scale[...] = jnp.array([2.0, 5.0])
    plain = norm(2)(jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(layer(jnp.array([1.0, 3.0])), plain * jnp.array([2.0, 5.0]), rtol=1e-6)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_norms_of_bfloat16_are_exact_but_for_rounding_in_and_out(norm):
    x = (100 + jax.random.normal(jax.random.key(0), (13, 257))).astype(jnp.bfloat16)
    exact = np.asarray(x, np.float64)
    if norm is LayerNorm:
        exact = exact - exact.mean(-1, keepdims=True)
    exact = exact / np.sqrt(np.square(exact).mean(-1, keepdims=True) + 1e-6)
    got = norm(257)(x)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float64), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_derivatives_of_norms_are_those_of_their_definition(norm):
    def plain(x):
        centered = x - x.mean(-1, keepdims=True) if norm is LayerNorm else x
        return centered / jnp.sqrt(jnp.mean(jnp.square(centered), -1, keepdims=True) + 1e-6)

    with jax.enable_x64(True):
        x, weight, dx = jax.random.normal(jax.random.key(0), (3, 5, 7), jnp.float64)
        # One row is so small that the epsilon decides.
        x = x.at[2].multiply(1e-3)
        for function in (norm(7), plain):
            pull = jax.grad(lambda x, function=function: jnp.sum(weight * function(x)))
            second = jax.jvp(pull, (x,), (dx,))
            found = (*second, jax.jvp(function, (x,), (dx,))[1])
            if function is not plain:
                ours = found
        for one, other in zip(ours, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (3, 5)])
def test_derivatives_of_a_linear_map(inputs, outputs):
    layer = Linear(inputs, outputs, rngs=nnx.Rngs(0))
    x, g = (
        jax.random.normal(jax.random.key(1), (7, inputs)),
        jax.random.normal(jax.random.key(2), (7, outputs)),
    )
    graph, params = nnx.split(layer)
    got = jax.grad(lambda params, x: jnp.sum(g * nnx.merge(graph, params)(x)), argnums=(0, 1))(params, x)
    np.testing.assert_allclose(got[0]["kernel"][...], x.T @ g, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[0]["bias"][...], g.sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], g @ layer.kernel[...].T, rtol=1e-5, atol=1e-6)


def count(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module)))


def test_gated_and_plain_feed_forward_have_about_as_many_parameters():
    plain, gated = (FeedForward(48, ratio=4.0, activation=kind, rngs=RNGS) for kind in ("gelu", "swiglu"))
    assert plain.up.kernel[...].shape == (48, 192)
    assert count(gated) == pytest.approx(count(plain), rel=0.01)


def test_swiglu_by_hand():
    layer = FeedForward(1, ratio=1.5, activation="swiglu", rngs=RNGS)
    layer.gate.kernel[...], layer.up.kernel[...] = jnp.array([[2.0]]), jnp.array([[3.0]])
    layer.down.kernel[...] = jnp.array([[7.0]])
    np.testing.assert_allclose(layer(jnp.array([[1.0]])), [[2 / (1 + np.exp(-2.0)) * 3 * 7]], rtol=1e-6)


def test_relu_feed_forward_by_hand():
    layer = FeedForward(1, ratio=2.0, activation="relu", rngs=RNGS)
    layer.up.kernel[...] = jnp.array([[2.0, -3.0]])
    layer.down.kernel[...] = jnp.array([[5.0], [7.0]])
    np.testing.assert_allclose(layer(jnp.array([[1.0], [-1.0]])), [[10.0], [21.0]], rtol=1e-6)


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    x = jnp.full((503, 211), 3.0)
    y = dropout(x, 0.3, jax.random.key(0))
    assert float(jnp.mean(y == 0)) == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 3 / 0.7, rtol=1e-6)


def test_dropout_is_independent_between_rows_numbers_and_keys():
    rows, numbers = 67, 509
    key = jax.random.key(3)
    tables = np.stack([dropout(jnp.ones((rows, numbers)), 0.3, k) == 0 for k in (key, *keys(key, 6))])
    signs = (tables - 0.3) / 0.21**0.5
    assert np.abs(signs.mean(axis=1)).max() < 6 / rows**0.5
    assert np.abs(signs.mean(axis=2)).max() < 6 / numbers**0.5
    pairs = {f"{n} further": (signs[..., n:], signs[..., :-n]) for n in (1, 2, 3, 4, 8, 16, 64, 256)}
    pairs |= {"next row": (signs[:, 1:], signs[:, :-1]), "next key": (signs[1:], signs[:-1])}
    pairs["diagonal"] = (signs[:, 1:, 1:], signs[:, :-1, :-1])
    for name, (one, other) in pairs.items():
        assert abs((one * other).mean()) < 6 / one.size**0.5, name
    triples = signs[..., 2:] * signs[..., 1:-1] * signs[..., :-2]
    assert abs(triples.mean()) < 6 / triples.size**0.5


def test_a_row_drops_what_its_own_key_says_wherever_it_stands():
    x, own = jnp.ones((5, 3, 7)), jax.random.split(jax.random.key(1), 5)
    whole = dropout(x, 0.4, own)
    np.testing.assert_array_equal(dropout(x[3:4], 0.4, own[3:4]), whole[3:4])
    np.testing.assert_array_equal(jax.vmap(lambda rate: dropout(x, rate, own))(jnp.array([0.4]))[0], whole)
    assert len({row.tobytes() for row in np.asarray(whole)}) == 5


def test_dropout_without_a_key_or_a_rate_changes_nothing():
    x = jnp.arange(7.0)
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, jax.random.key(0)) is x
    assert keys(None, 3) == [None, None, None]


def test_residual_norms_before_or_after():
    x = jnp.array([[3.0, -4.0]])
    norm = np.sqrt(12.5)
    pre, aside = Residual(2, norm="rms", order="pre", rate=0.0)(x, lambda h: (10 * h, "seen"))
    np.testing.assert_allclose(pre, [[3 + 30 / norm, -4 - 40 / norm]], rtol=1e-5)
    assert aside == "seen"
    post, _ = Residual(2, norm="rms", order="post", rate=0.0)(x, lambda h: (h, None))
    np.testing.assert_allclose(post, [[3 / norm, -4 / norm]], rtol=1e-5)


def test_residual_drops_only_what_is_added():
    x = jnp.full((1, 401), 5.0)
    y, _ = Residual(401, norm="rms", order="pre", rate=0.4)(x, lambda h: (h, None), jax.random.key(0))
    np.testing.assert_allclose(np.unique(y), [5.0, 5 + 1 / 0.6], rtol=1e-5)


def test_biases_of_attention_start_at_zero_and_other_mixers_refuse_them():
    plain, biased = (
        build_layer(Attention(), Width.of(6, 3, bias=bias), rngs=nnx.Rngs(0)) for bias in (False, True)
    )
    x = jnp.arange(12.0).reshape(1, 2, 6) / 7
    np.testing.assert_array_equal(plain(x), biased(x))
    biased.output_projection.output.bias[...] += 2.0
    np.testing.assert_allclose(biased(x), plain(x) + 2.0, rtol=1e-6)
    with pytest.raises(ValueError, match="attention_bias = True: Retnet has projections of its own"):
        build_layer(Retnet(), Width.of(6, 3, bias=True), rngs=nnx.Rngs(0))
