import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.forms import attend
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.position.qk_norm import QkNorm
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape


@pytest.mark.parametrize("form", ["reference", "blockwise"])
def test_without_keys_the_output_is_zero_and_the_lse_minus_infinity(form):
    q, k = np.ones((2, 3, 5), np.float32), np.ones((1, 0, 5), np.float32)
    result = attend(Attention().scored(), None, q, k, np.ones((1, 0, 7), np.float32), implementation=form)
    assert result.output.shape == (2, 3, 7)
    assert not result.output.any()
    assert np.all(result.lse == -jnp.inf)


@pytest.mark.parametrize("form", ["reference", "blockwise"])
def test_one_token_sees_itself(form):
    q = k = np.full((1, 1, 2), 3.0, np.float32)
    v = np.array([[[5.0, -7.0]]], np.float32)
    result = attend(Attention().scored(), None, q, k, v, implementation=form)
    np.testing.assert_array_equal(result.output, v)
    np.testing.assert_allclose(result.lse, [[18 / 2**0.5]], rtol=1e-6)


@pytest.mark.parametrize("form", ["reference", "blockwise"])
@pytest.mark.parametrize("normalizer", [Softmax(), Sparsemax()])
def test_a_key_that_is_not_finite_is_seen_by_those_who_may_look_at_it_and_by_nobody_else(form, normalizer):
    random = np.random.default_rng(0)
    q, k, v = (random.normal(size=(1, 5, 2)).astype(np.float32) for _ in range(3))
    k[:, 3] = np.nan
    scored = Attention(normalizer=normalizer, mask=Causal()).scored()
    output = attend(scored, None, q, k, v, implementation=form).output
    assert np.isfinite(output).all(axis=-1).tolist() == [[True, True, True, False, False]]


@pytest.mark.parametrize("form", ["reference", "blockwise"])
def test_second_derivatives_of_a_normalized_key_do_not_see_a_masked_nan(form):
    random = np.random.default_rng(0)
    q, k, v = (jnp.asarray(random.normal(size=(1, 5, 2)), jnp.float32) for _ in range(3))
    k = k.at[:, 3].set(jnp.nan)
    scored = Attention(position=(QkNorm(),), mask=Padding()).scored()

    def total(k):
        params = scored.init(jax.random.key(0), HeadShape(1, 2, 2))
        return attend(
            scored, params, q, k, v, data=Data(scalar={"length": 3}), implementation=form
        ).output.sum()

    second = jax.jvp(jax.grad(total), (k,), (jnp.ones_like(k),))[1]
    assert np.isfinite(second).all()
