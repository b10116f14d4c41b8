"""Decoding from a cache."""

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
