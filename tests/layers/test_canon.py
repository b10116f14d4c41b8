"""Canon layers: a whole block against loops in float64, and what a config may say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.layers.build import Width
from attnkit.layers.conv_window import ConvWindow
from attnkit.layers.short_convolution import ShortConvolution
from attnkit.layers.stack import Style, make_stack
from attnkit.layers.token_mixer.min_gru import MinGru
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.models.decoder import Decoder
from attnkit.scored.preset.attention import Attention

DIM, HEADS, TOKENS = 6, 2, 7
WIDTH = Width.of(DIM, HEADS, 1)
ATTENTION = Attention(mask=Causal())


def stack(canon="ABCD", mixer=ATTENTION, **kind):
    made = make_stack(1, Style(WIDTH, canon=canon, norm="rms", **kind), mixer, rngs=nnx.Rngs(0))
    noise = iter(jax.random.split(jax.random.key(1), 100))
    graph, params = nnx.split(made)
    moved = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(next(noise), a.shape), params)
    return nnx.merge(graph, moved)


def plain(parameter):
    return np.asarray(parameter[...], np.float64)


def canon_layer(kernel, x):
    """`x_t + sum_n w_n x_{t - 3 + n}`."""
    y = x.copy()
    for t in range(len(x)):
        for n in range(4):
            if t - 3 + n >= 0:
                y[t] += kernel[n] * x[t - 3 + n]
    return y


def rms(norm, x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * plain(norm.scale)


def linear(map, x):
    return x @ plain(map.kernel) + (0 if map.bias is None else plain(map.bias))


def expected(made, x):
    """The block of the authors' code: every convolution after the norm or the projection of its place."""
    block, head_dim = made.blocks[0], DIM // HEADS
    kernels = {place: plain(one.kernel) for place, one in block.convolutions.items()}
    h = canon_layer(kernels["A"], rms(block.around_mixer.norm, x))
    project = block.mixer.project
    joined = np.concatenate([linear(project.query, h), linear(project.key_value, h)], axis=-1)
    joined = canon_layer(plain(block.mixer.convolution.kernel), joined)
    q, k, v = np.split(joined, [DIM, DIM + head_dim], axis=-1)
    heads = []
    for one in np.split(q, HEADS, axis=-1):
        scores = np.where(np.tri(len(x)) > 0, one @ k.T / np.sqrt(head_dim), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ v)
    x = x + linear(block.mixer.output_projection.output, np.concatenate(heads, axis=-1))
    h = canon_layer(kernels["C"], rms(block.around_feed_forward.norm, x))
    joined = np.concatenate(
        [linear(one, h) for one in (block.feed_forward.gate, block.feed_forward.up)], axis=-1
    )
    gate, value = np.split(canon_layer(kernels["D"], joined), 2, axis=-1)
    x = x + linear(block.feed_forward.down, gate / (1 + np.exp(-gate)) * value)
    return rms(made.norm, x)


def test_a_block_agrees_with_loops_and_decodes():
    made = stack(activation="swiglu")
    x = jax.random.normal(jax.random.key(2), (2, TOKENS, DIM))
    graph, params = nnx.split(made)
    compiled = jax.jit
    found = compiled(lambda params: nnx.merge(graph, params)(x).output)(params)
    for row, given in zip(found, x, strict=True):
        np.testing.assert_allclose(row, expected(made, np.asarray(given, np.float64)), atol=2e-5)
    states, pieces, first = made.start(2, TOKENS, jnp.float32), [], 0
    step = compiled(lambda params, x, states: nnx.merge(graph, params).step(x, states))
    for size in (1, 1, 5):
        y, states = step(params, x[:, first : first + size], states)
        pieces.append(y)
        first += size
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), found, atol=2e-5)


def test_a_residual_convolution_by_hand():
    made = ShortConvolution(ConvWindow(2), 1, residual=True, rngs=nnx.Rngs(0))
    made.kernel[...] = jnp.array([[10.0], [1.0]])
    x = jnp.array([[[1.0], [2.0], [3.0]]])
    assert made(x)[0, :, 0].tolist() == [2.0, 14.0, 26.0]
    assert made(x, Data(key={"segment": jnp.array([[0, 0, 1]])}))[0, :, 0].tolist() == [2.0, 14.0, 6.0]


def test_initial_values_are_those_of_the_authors_code():
    kernel = np.asarray(ShortConvolution(ConvWindow(4), 999, residual=True, rngs=nnx.Rngs(0)).kernel[...])
    assert np.abs(kernel).max() <= 0.5
    np.testing.assert_allclose(kernel.std(), 0.5 / np.sqrt(3), rtol=0.03)


def test_only_plain_attention_has_a_place_b():
    with pytest.raises(ValueError, match=r"canon has B.*CellLayer; leave B out"):
        stack(mixer=MinGru())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canon": "AC", "short_convolution": 3}, "canon = 'AC': A and short_convolution = 3"),
        ({"canon": "AD", "mlp_ratio": 0.0}, "canon = 'AD': C and D are in the feed-forward part"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Decoder(**options)
