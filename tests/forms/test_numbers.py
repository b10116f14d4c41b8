"""Hand-worked numbers: the scale, the order bias - cap - mask, and the lse."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.forms import attend, weights
from attnkit.masks.causal import Causal
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.dot import Dot

FORMS = pytest.mark.parametrize("form", ["reference", "blockwise"])


def arrays(q, k, v):
    return (jnp.array([part], jnp.float32) for part in (q, k, v))


@FORMS
def test_the_scale_is_one_over_the_root_of_the_width(form):
    """q.k = 4 log 3 and 0, dim 4: scores 2 log 3 and 0, weights 9 : 1."""
    q, k, v = arrays([[2, 2, 0, 0]], [[2 * math.log(3), 0, 0, 0], [0, 0, 5, 5]], [[10.0], [0.0]])
    result = attend(Attention().scored(), None, q, k, v, implementation=form)
    np.testing.assert_allclose(result.output, [[[9.0]]], rtol=1e-6)
    np.testing.assert_allclose(result.lse, [[math.log(10)]], rtol=1e-6)


@FORMS
def test_a_given_scale_replaces_it(form):
    q, k, v = arrays([[1, 0, 0, 0]], [[math.log(3), 0, 0, 0], [0, 0, 0, 0]], [[4.0], [0.0]])
    result = attend(Attention(score=Dot(scale=1.0)).scored(), None, q, k, v, implementation=form)
    np.testing.assert_allclose(result.output, [[[3.0]]], rtol=1e-6)


@FORMS
def test_equal_scores_give_the_running_mean(form):
    q, k, v = arrays([[0.0]] * 3, [[7.0]] * 3, [[3.0], [5.0], [10.0]])
    result = attend(Attention(mask=Causal()).scored(), None, q, k, v, implementation=form)
    np.testing.assert_allclose(result.output[0, :, 0], [3, 4, 6], rtol=1e-6)
    np.testing.assert_allclose(result.lse[0], np.log([1, 2, 3]), atol=1e-6)


@FORMS
def test_the_cap_comes_after_the_bias(form):
    """One head has slope 1/256: at distance 512 the bias is -2, capped by 2 to -2 tanh(1)."""
    q, k, v = arrays([[0.0]], [[0.0]], [[1.0]])
    scored = Attention(position=(Alibi(),), cap=2.0).scored()
    lse = attend(scored, None, q, k, v, offset=512, implementation=form).lse
    np.testing.assert_allclose(lse, [[-2 * math.tanh(1)]], rtol=1e-6)


@FORMS
def test_the_cap_does_not_bring_masked_keys_back(form):
    q, k, v = arrays([[0.0], [0.0]], [[0.0], [0.0]], [[1.0], [100.0]])
    scored = Attention(mask=Causal(), cap=1e-3).scored()
    np.testing.assert_allclose(
        attend(scored, None, q, k, v, implementation=form).output[0, :, 0], [1, 50.5], rtol=1e-6
    )


def test_weights_are_those_that_give_the_output():
    random = np.random.default_rng(0)
    q, k, v = (jnp.asarray(random.normal(size=(3, 5, 2)), jnp.float32) for _ in range(3))
    scored = Attention(mask=Causal()).scored()
    w = weights(scored, None, q, k)
    np.testing.assert_allclose(w.sum(axis=-1), 1, rtol=1e-6)
    assert not np.triu(w[0], 1).any()
    np.testing.assert_allclose(w @ v, attend(scored, None, q, k, v).output, rtol=1e-5, atol=1e-6)


@FORMS
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_scores_of_ten_thousand_pick_the_largest(form, dtype):
    q, k = jnp.full((1, 1, 1), 100, dtype), jnp.array([[[-100.0], [100.0], [99.0]]], dtype)
    v = jnp.array([[[1.0], [2.0], [3.0]]], dtype)
    result = attend(Attention().scored(), None, q, k, v, implementation=form)
    assert result.output.tolist() == [[[2.0]]]
    assert result.lse.tolist() == [[10000.0]]
    assert result.lse.dtype == jnp.float32
