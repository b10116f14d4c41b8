"""Attention over pieces of the keys, merged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.scored.exponential import Partial
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


def test_pieces_of_other_queries_are_refused():
    early, late = (Partial(jnp.zeros((1, n)), jnp.ones((1, n)), jnp.zeros((1, n, 5))) for n in (1, 3))
    with pytest.raises(AssertionError, match="shape"):
        forms.merge_pieces(early, late)


def test_pieces_are_refused_where_they_cannot_be_merged():
    scored = Attention(normalizer=Entmax()).scored()
    with pytest.raises(ValueError, match="Entmax: pieces can be merged only for exponential normalizers"):
        forms.attend_piece(scored, None, *arrays(3))
