"""Splitting, decoding, skipping and memory: what the forms promise beyond agreeing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.scored.block import survives
from attnkit.scored.exponential import Partial, absorb, finish, merge, no_keys
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

SHAPE = HeadShape(heads=6, kv_heads=2, dim=4, value_dim=5)


def arrays(tokens, seed=0):
    random = np.random.default_rng(seed)
    sizes = ((6, tokens, 4), (2, tokens, 4), (2, tokens, 5))
    return tuple(jnp.asarray(random.normal(size=size), jnp.float32) for size in sizes)


def test_pieces_of_the_keys_merge_to_the_whole_and_the_sink_counts_once():
    q, k, v = arrays(23)
    scored = Attention(normalizer=Sink(start=0.7), position=(Rotary(),), mask=Causal()).scored()
    params = scored.init(jax.random.key(0), SHAPE)
    early = forms.attend_piece(scored, params, q, k[:, :9], v[:, :9])
    late = forms.attend_piece(scored, params, q, k[:, 9:], v[:, 9:], first=9, block=(5, 4))
    joined = forms.finish_pieces(scored, params, forms.merge_pieces(late, early))
    whole = forms.attend(scored, params, q, k, v, implementation="reference")
    np.testing.assert_allclose(joined.output, whole.output, rtol=0, atol=2e-6)
    np.testing.assert_allclose(joined.lse, whole.lse, rtol=0, atol=2e-6)


def test_pieces_are_refused_where_they_cannot_be_merged():
    scored = Attention(normalizer=Entmax()).scored()
    with pytest.raises(ValueError, match="Entmax: pieces can be merged only for exponential normalizers"):
        forms.attend_piece(scored, None, *arrays(3))


def test_decoding_in_pieces_equals_the_whole_sequence():
    q, k, v = arrays(13)
    scored = Attention(position=(Rotary(),), mask=Causal() & Window(back=4)).scored()
    whole = forms.attend(scored, None, q, k, v, implementation="reference")
    cache = forms.empty_cache(scored, SHAPE, 17)
    for low, high in ((0, 7), (7, 8), (8, 13)):
        cache = forms.extend(scored, cache, k[:, low:high], v[:, low:high])
        newest = forms.step(scored, None, q[:, low:high], cache)
        np.testing.assert_allclose(newest.output, whole.output[:, low:high], rtol=0, atol=2e-6)


def test_blocks_that_the_mask_rules_out_are_not_computed():
    causal = forms.explain(Attention(mask=Causal()).scored(), 4096, 4096, block=(256, 256))
    assert (causal.blocks, causal.computed) == (256, 136)
    window = Attention(mask=Window(back=255)).scored()
    counts = [
        forms.explain(window, tokens, tokens, block=(256, 256)).computed for tokens in (2048, 4096, 8192)
    ]
    assert counts == [15, 31, 63]


@pytest.mark.parametrize("kind", ["forward", "gradient", "jvp", "hvp"])
def test_memory_grows_linearly_with_the_length(kind):
    scored = Attention(mask=Causal()).scored()

    def forward(q, k, v):
        return forms.attend(scored, None, q, k, v, block=(32, 32)).output

    gradient = jax.grad(lambda *a: jnp.sum(forward(*a) ** 2), (0, 1, 2))
    function = {
        "forward": forward,
        "gradient": gradient,
        "jvp": lambda *a: jax.jvp(forward, a, a),
        "hvp": lambda *a: jax.jvp(gradient, a, a),
    }[kind]

    def temporary(tokens):
        one = jax.ShapeDtypeStruct((1, tokens, 16), jnp.float32)
        return jax.jit(function).lower(one, one, one).compile().memory_analysis().temp_size_in_bytes

    assert temporary(2048) <= 2.2 * temporary(1024)


def test_dropout_drops_the_same_weights_whatever_the_blocks():
    q, k, v = arrays(19)
    scored = Attention(dropout=0.4).scored()
    outputs = [
        forms.attend(scored, None, q, k, v, key=jax.random.key(3), **how).output
        for how in ({"implementation": "reference"}, {"block": (19, 19)}, {"block": (4, 6)})
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=3e-6)
    np.testing.assert_allclose(outputs[0], outputs[2], rtol=0, atol=3e-6)
    assert np.abs(outputs[0] - forms.attend(scored, None, q, k, v).output).max() > 0.1


def test_dropout_keeps_the_stated_share_and_rows_are_independent():
    seed = jnp.array([17, 23], jnp.uint32)
    kept = np.asarray(survives(seed, 0.3, jnp.arange(997), jnp.arange(1009))).astype(float)
    error = np.sqrt(0.3 * 0.7 / kept.size)
    assert abs(kept.mean() - 0.7) < 4 * error
    together = (kept[:-1] * kept[1:]).mean() - 0.49
    assert abs(together) < 4 * np.sqrt(0.49 * 0.51 / kept.size)
    sideways = (kept[:, :-1] * kept[:, 1:]).mean() - 0.49
    assert abs(sideways) < 4 * np.sqrt(0.49 * 0.51 / kept.size)


numbers = st.lists(st.floats(-30, 30, width=32), min_size=0, max_size=4)


def partial(scores):
    """The partial result over keys with these scores, whose values are the scores themselves."""
    s = jnp.asarray(scores, jnp.float32)[None, :]
    return absorb(no_keys(jnp.zeros(1), 1), s, None, lambda e: e @ s.T)


def assert_same(a: Partial, b: Partial):
    for left, right in zip(finish(None, a), finish(None, b), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, numbers)
def test_partial_results_are_a_commutative_monoid(a, b, c):
    x, y, z = partial(a), partial(b), partial(c)
    assert_same(merge(merge(x, y), z), merge(x, merge(y, z)))
    assert_same(merge(x, y), merge(y, x))
    assert_same(merge(x, no_keys(jnp.zeros(1), 1)), x)
    assert_same(merge(merge(x, y), z), partial(a + b + c))
