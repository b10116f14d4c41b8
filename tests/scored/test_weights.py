"""Normalizers and selections: weights worked by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.layers.causality import refuse_future
from attnkit.masks.causal import Causal
from attnkit.scored.contract import PartParams, Parts, Scored
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.scored.normalizer.gelu import Gelu
from attnkit.scored.normalizer.gumbel import Gumbel, gumbel_noise
from attnkit.scored.normalizer.gumbel_hard import GumbelHard
from attnkit.scored.normalizer.hard import Hard
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.normalizer.relu import Relu
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.normalizer.softmax_one import SoftmaxOne
from attnkit.scored.normalizer.softpick import Softpick
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.normalizer.top_k import TopK
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.dot import Dot
from attnkit.scored.selection.lsh import Lsh
from attnkit.scored.selection.moba import Moba
from attnkit.scored.selection.routing import Routing

pytestmark = pytest.mark.one_python

LOG2, LOG3 = math.log(2), math.log(3)


def weights(normalizer, s, params=None, **parts):
    """The weights of one query whose scores are `s`."""
    scored = Scored(score=Dot(scale=1.0), normalizer=normalizer, **parts)
    k = jnp.array(s, jnp.float32)[None, :, None]
    given = Parts({}, params or {}, (), ({},) * len(scored.selection))
    return forms.weights(scored, given, jnp.ones((1, 1, 1)), k)[0, 0]


CASES = {
    "softmax": (Softmax(), [0, LOG3], [0.25, 0.75]),
    "softmax_one counts one more": (SoftmaxOne(), [0, LOG2], [1 / 4, 2 / 4]),
    "sink counts e^log 3 more": (Sink(), [0, LOG2], [1 / 6, 2 / 6]),
    "sigmoid of the score less log 2": (Sigmoid(), [LOG2, LOG2 + LOG3], [1 / 2, 3 / 4]),
    "sigmoid with a bias": (Sigmoid(bias=-LOG3), [LOG3, 0], [1 / 2, 1 / 4]),
    "relu, squared, of two keys": (Relu(power=2), [-1, 3], [0, 9 / 2]),
    "gelu(x) = x Phi(x)": (Gelu(), [0, 1], [0, 0.8413447 / 2]),
    "sparsemax: tau = 1/4": (Sparsemax(), [1, 0.5, -1], [0.75, 0.25, 0]),
    "entmax: tau = 0": (Entmax(alpha=1.5), [1.6, 1.2, -1], [0.64, 0.36, 0]),
    "learned alpha: sigmoid(0) + 1": (Entmax(learned=True), [1.6, 1.2, -1], [0.64, 0.36, 0]),
    "softpick of 1, 0 and -1/2": (Softpick(), [LOG2, 0, -LOG2], [2 / 3, 0, 0]),
    "softpick of nothing above 0": (Softpick(), [0, -LOG2], [0, 0]),
    "softpick of large scores": (Softpick(), [40 + LOG3, 40, -100], [3 / 4, 1 / 4, 0]),
    "top_k": (TopK(k=2), [0, -5, LOG3], [0.25, 0, 0.75]),
    "top_k of fewer": (TopK(k=7), [0, LOG3], [0.25, 0.75]),
    "hard": (Hard(), [1, 2, 2], [0, 1, 0]),
    "stick_breaking": (StickBreaking(), [0, 0, 0], [1 / 8, 1 / 4, 1 / 2]),
    "stick_breaking, the last takes 3/4": (StickBreaking(), [0, LOG3], [1 / 8, 3 / 4]),
    "gumbel without noise": (Gumbel(temperature=0.5), [0, LOG3], [1 / 10, 9 / 10]),
    "gumbel_hard without noise": (GumbelHard(), [0, LOG3], [0, 1]),
}
PARAMS = {Sink: {"sink": jnp.array([LOG3])}, Entmax: {"alpha": jnp.array([0.0])}}


@pytest.mark.parametrize("name", CASES)
def test_weights(name):
    normalizer, s, expected = CASES[name]
    params = PARAMS.get(type(normalizer)) if getattr(normalizer, "learned", True) else None
    np.testing.assert_allclose(weights(normalizer, s, params), expected, rtol=1e-5, atol=1e-6)


def test_entmax_does_not_feel_how_large_all_scores_are():
    """The threshold lies in units of scores; both the weights and their slope by alpha keep their digits."""
    scored = Scored(score=Dot(scale=1.0), normalizer=Entmax(learned=True))
    s = jnp.array([0.5, 0.25, -0.125, -3])

    def results(offset):
        def total(alpha):
            params = Parts({}, {"alpha": alpha})
            given = jnp.ones((1, 1, 1)), (s + offset)[None, :, None], jnp.eye(4)[None]
            result = forms.attend(scored, params, *given)
            return result.output[0, 0] @ jnp.array([1.0, 3, -2, 5]), (result.output, result.lse - offset)

        return jax.value_and_grad(total, has_aux=True)(jnp.array([0.3]))

    (_, (near, threshold)), near_slope = results(0)
    (_, (far, far_threshold)), far_slope = results(8192)
    np.testing.assert_allclose(far, near, rtol=0, atol=1e-6)
    np.testing.assert_allclose(far_threshold, threshold, rtol=0, atol=1e-3)
    np.testing.assert_allclose(far_slope, near_slope, rtol=1e-5)


def test_queries_compete_for_keys():
    """Keys 0 and 1 share themselves out as (1/4, 3/4) and (1/2, 1/2)."""
    scored = Scored(score=Dot(scale=1.0), normalizer=Inverted())
    q, k = jnp.array([[[0.0], [1.0]]]), jnp.array([[[LOG3], [0.0]]])
    np.testing.assert_allclose(
        forms.weights(scored, None, q, k)[0], [[1 / 3, 2 / 3], [3 / 5, 2 / 5]], rtol=1e-5
    )
    value = jnp.ones((1, 2, 1))
    for form in ("reference", "blockwise"):
        nothing = forms.attend(scored, None, q, k[:, :0], value[:, :0], implementation=form)
        assert not nothing.output.any() and np.all(nothing.lse == -np.inf)
        gradients = jax.grad(
            lambda q, k, v, form=form: forms.attend(scored, None, q, k, v, implementation=form).output.sum(),
            (0, 1, 2),
        )(q, k[:, :0], value[:, :0])
        assert all(np.isfinite(gradient).all() for gradient in gradients) and not gradients[0].any()
    lse = forms.attend(scored, None, q, k, value).lse
    np.testing.assert_allclose(lse[0], np.log([3 / 4, 5 / 4]), rtol=1e-5)
    with pytest.raises(ValueError, match=r"normalizer = Inverted: .* cannot decode"):
        forms.step(scored, None, q, forms.Cache(k, value, Parts({}, {}), jnp.int32(2)))
    with pytest.raises(ValueError, match="normalizer = Inverted"):
        forms.attend_piece(scored, None, q, k, value)
    with pytest.raises(ValueError, match="its normalizer runs over queries, so use it in an encoder"):
        refuse_future("mixer", Attention(normalizer=Inverted(), mask=Causal()))


def test_gumbel_noise_has_the_right_distribution():
    noise = np.asarray(gumbel_noise(jnp.array([3, 5], jnp.uint32), jnp.arange(499), jnp.arange(503)))
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772157) < 6 * math.pi / 6**0.5 / noise.size**0.5
    for share in (0.01, 0.5, 0.99):  # P(g < x) = exp(-exp(-x))
        below = (noise < -math.log(-math.log(share))).mean()
        assert abs(below - share) < 6 * (share * (1 - share) / noise.size) ** 0.5


def test_gumbel_hard_draws_keys_with_their_softmax_weights():
    scored = Scored(score=Dot(scale=1.0), normalizer=GumbelHard())
    q, k, v = jnp.ones((1, 2000, 1)), jnp.array([[[0.0], [LOG3]]]), jnp.eye(2)[None]
    drawn = forms.attend(scored, None, q, k, v, key=jax.random.key(0)).output[0]
    np.testing.assert_allclose(np.sort(drawn, axis=1), np.tile([0.0, 1.0], (2000, 1)), atol=1e-6)
    assert abs(drawn[:, 1].mean() - 0.75) < 6 * (0.75 * 0.25 / 2000) ** 0.5


def test_gumbel_is_the_same_in_every_form_and_sums_to_one():
    scored = Scored(score=Dot(), normalizer=Gumbel(temperature=0.7), mask=Causal())
    random = np.random.default_rng(0)
    q, k, v = (jnp.asarray(random.normal(size=(2, 7, 3)), jnp.float32) for _ in range(3))
    given = (scored, None, q, k, v.at[..., 0].set(1))
    one, other = (
        forms.attend(*given, key=jax.random.key(1), **how).output
        for how in ({"implementation": "reference"}, {"block": (3, 2)})
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one[..., 0], 1, rtol=1e-6)
    assert np.abs(one - forms.attend(*given).output).max() > 0.1


def test_moba_takes_its_own_block_and_the_best_of_the_others():
    seen = weights(Softmax(), [1, 1, 5, 4, 2, 2, 0, 0], selection=(Moba(size=2, count=2),), mask=Causal())
    assert np.flatnonzero(seen).tolist() == [0]  # at position 0
    scored = Scored(score=Dot(scale=1.0), normalizer=Softmax(), selection=(Moba(size=2, count=2),))
    k = jnp.array([1.0, 1, 5, 4, 9, 9, 0, 0])[None, :, None]
    for position, mask, chosen in (
        (7, Causal(), [4, 5, 6, 7]),
        (4, Causal(), [2, 3, 4]),
        (1, Causal(), [0, 1]),
    ):
        scored = Scored(score=Dot(), normalizer=Softmax(), selection=(Moba(size=2, count=2),), mask=mask)
        row = forms.weights(scored, None, jnp.ones((1, 1, 1)), k, offset=position)[0, 0]
        assert np.flatnonzero(row).tolist() == chosen


def test_lsh_puts_vectors_of_one_direction_into_one_bucket():
    rows = jnp.array([[3.0, 1], [1, 3], [-3, 1], [1, -3], [30, 10]])
    p = PartParams({"rotation": jnp.eye(2)[None]})
    chosen = Lsh(buckets=4, rounds=1).select(p, rows, rows, jnp.arange(5), jnp.arange(5), ())
    expected = np.eye(5, dtype=bool)
    expected[0, 4] = expected[4, 0] = True
    np.testing.assert_array_equal(chosen, expected)


def test_routing_shows_a_query_the_keys_of_its_centroid():
    p = PartParams({"centroid": jnp.array([[1.0, 0], [0, 2]])})
    q, k = jnp.array([[3.0, 1], [1, 1]]), jnp.array([[1.0, 0], [1, 0.4], [-1, -1], [0, 1]])
    # Products with the centroids: 3 and 2, 1 and 2; of keys 1 and 0, 1 and 0.8, -1 and -2, 0 and 2.
    chosen = Routing(clusters=2).select(p, q, k, jnp.arange(2), jnp.arange(4), ())
    np.testing.assert_array_equal(chosen, [[True, True, True, False], [False, False, False, True]])
