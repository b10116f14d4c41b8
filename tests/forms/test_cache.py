"""Decoding from a cache."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

SHAPE = HeadShape(heads=6, kv_heads=2, dim=4, value_dim=5)


def arrays(tokens, seed=0):
    random = np.random.default_rng(seed)
    sizes = ((6, tokens, 4), (2, tokens, 4), (2, tokens, 5))
    return tuple(jnp.asarray(random.normal(size=size), jnp.float32) for size in sizes)


def test_decoding_in_pieces_equals_the_whole_sequence():
    q, k, v = arrays(13)
    scored = Attention(position=(Rotary(),), mask=Causal() & Window(back=4)).scored()
    whole = forms.attend(scored, None, q, k, v, implementation="reference")
    cache = forms.empty_cache(scored, SHAPE, 17)
    for low, high in ((0, 7), (7, 8), (8, 13)):
        cache = forms.extend(scored, cache, k[:, low:high], v[:, low:high])
        newest = forms.step(scored, None, q[:, low:high], cache)
        np.testing.assert_allclose(newest.output, whole.output[:, low:high], rtol=0, atol=2e-6)


def test_a_token_at_any_place_of_the_cache_is_the_same_program():
    q, k, v = arrays(7)
    scored = Attention(mask=Causal()).scored()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def decode(cache, q, k, v):
        cache = forms.extend(scored, cache, k, v)
        return cache, forms.step(scored, None, q, cache).output

    cache, found = forms.empty_cache(scored, SHAPE, 7), []
    for at in range(7):
        cache, output = decode(cache, *(a[:, at : at + 1] for a in (q, k, v)))
        found.append(output)
    whole = forms.attend(scored, None, q, k, v, implementation="reference").output
    np.testing.assert_allclose(jnp.concatenate(found, axis=1), whole, rtol=0, atol=2e-6)
