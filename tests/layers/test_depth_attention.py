"""Attention over depth: a stack against its equation, and decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.layers.build import Width
from attnkit.layers.stack import Style, make_stack
from attnkit.masks.causal import Causal
from attnkit.points import PointError, observe
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

DIM = 6
call = nnx.jit(lambda layer, x: layer(x))


def test_each_part_reads_attention_over_all_outputs_below():
    style = Style(Width.of(DIM, 2), norm="rms", mlp_ratio=2.0, below="attention")
    made = make_stack(2, style, Attention(mask=Causal()), rngs=nnx.Rngs(0))
    around = [part for block in made.blocks for part in (block.around_mixer, block.around_feed_forward)]
    for n, depth in enumerate([*(part.depth for part in around), made.depth]):
        depth.query[...] = jax.random.normal(jax.random.key(n), (DIM,))
    x = jax.random.normal(jax.random.key(9), (2, 5, DIM))

    def mixed(depth, outputs):
        logits = [v / np.sqrt((v**2).mean(-1, keepdims=True) + 1e-6) @ depth.query[...] for v in outputs]
        weights = np.exp(logits) / np.exp(logits).sum(axis=0)
        return sum(w[..., None] * v for w, v in zip(weights, outputs, strict=True))

    parts = [part for block in made.blocks for part in (block.mixer, block.feed_forward)]
    outputs = [np.asarray(x)]
    for part, place in zip(parts, around, strict=True):
        outputs.append(np.asarray(call(part, place.norm(jnp.asarray(mixed(place.depth, outputs))))))
    expected = made.norm(jnp.asarray(mixed(made.depth, outputs)))
    whole, seen = observe(made, read=["*depth_weights"])(x)
    np.testing.assert_allclose(whole.output, expected, atol=2e-6)
    assert [len(w) for w in seen.values()] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(sum(seen["depth_weights"]), np.ones((2, 5)), atol=1e-6)
    step = nnx.jit(lambda made, x, states: made.step(x, states))
    states, pieces = made.start(2, 5, x.dtype), []
    for t in range(5):
        y, states = step(made, x[:, t : t + 1], states)
        pieces.append(y)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole.output, atol=2e-6)
    with pytest.raises(PointError, match="attention over all outputs below"):
        observe(made, read=["0.residual"])(x)


def test_a_norm_after_the_sum_is_refused():
    style = Style(Width.of(DIM, 2), order="post", below="attention")
    with pytest.raises(ValueError, match='use order = "pre"'):
        make_stack(1, style, Attention(mask=Causal()), rngs=nnx.Rngs(0))
