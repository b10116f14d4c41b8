import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.scored.contract import Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.data_dependent_alibi import DataDependentAlibi
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.shaw import Shaw
from attnkit.scored.position.xpos import Xpos
from attnkit.scored.score.dot import Dot
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

SHAPE, TOKENS, ROOM = HeadShape(3, 6, 5, 1), 11, 13


@pytest.mark.parametrize("position", [(Fox(), Shaw(max_distance=2)), (DataDependentAlibi(), Xpos(length=7))])
def test_decoding_token_by_token_equals_attending_at_once(position):
    scored = Scored(score=Dot(), position=position, normalizer=Softmax(), mask=Causal())
    keys = jax.random.split(jax.random.key(0), 5)
    params = scored.init(keys[0], SHAPE)
    q, k, v = (
        jax.random.normal(key, (heads, TOKENS, dim))
        for key, heads, dim in zip(keys[1:4], (3, 1, 1), (6, 6, 5), strict=True)
    )
    number = itertools.count()
    inputs = jax.tree.map(
        lambda need: next(number) + jax.random.normal(keys[4], (3, TOKENS, 1)), scored.inputs(SHAPE)
    )

    def one(cache, token):
        q, k, v, inputs = jax.tree.map(lambda x: x[:, None], token)
        cache = forms.extend(scored, cache, k, v, inputs)
        return cache, forms.step(scored, params, q, cache).output[:, 0]

    tokens = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (q, k, v, inputs))
    _, stepped = jax.lax.scan(one, forms.empty_cache(scored, SHAPE, ROOM), tokens)
    whole = forms.attend(scored, params, q, k, v, inputs=inputs).output
    np.testing.assert_allclose(jnp.swapaxes(stepped, 0, 1), whole, atol=2e-6)
