import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.scored.contract import PartParams
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.score.additive import Additive
from attnkit.scored.score.bilinear import Bilinear
from attnkit.scored.score.cosine import Cosine
from attnkit.scored.score.disentangled import Disentangled
from attnkit.scored.score.dot import Dot
from attnkit.scored.score.euclidean import Euclidean
from attnkit.scored.score.selective_rotary import SelectiveRotary
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

HERE = jnp.array([5])


def score(part, q, k, p=None, i=5, j=4):
    """The score of one query and one key."""
    p = PartParams({name: jnp.array(value) for name, value in (p or {}).items()})
    return part.score(p, jnp.array([q]), jnp.array([k]), jnp.array([i]), jnp.array([j])).item()


def test_dot_divides_by_the_root_of_dim_or_takes_the_scale_it_is_given():
    q, k = [3.0, 4.0, 0.0, 0.0], [1.0, 1.0, 5.0, 5.0]
    assert score(Dot(), q, k) == 3.5
    assert score(Dot(scale=2.0), q, k) == 14.0


def test_additive():
    log2 = math.log(2)  # tanh(log 2) = 0.6
    p = {"query": [[0.5 * log2], [9.0]], "key": [[9.0], [0.25 * log2]], "out": [5.0]}
    assert score(Additive(hidden=1), [1.0, 0.0], [0.0, 2.0], p) == pytest.approx(3.0)


def test_bilinear_multiplies_the_query_from_the_left():
    assert score(Bilinear(), [1.0, 2.0], [5.0, 6.0], {"matrix": [[1.0, 2.0], [3.0, 4.0]]}) == 95.0


def test_bilinear_with_a_scaled_identity_is_dot():
    q, k = [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]
    assert score(Bilinear(), q, k, {"matrix": np.eye(4) / 2}) == score(Dot(), q, k) == 35.0


def test_cosine_does_not_know_lengths():
    p = {"factor": 5.0}
    assert score(Cosine(), [3.0, 4.0], [4.0, 3.0], p) == pytest.approx(4.8)
    assert score(Cosine(), [30.0, 40.0], [0.4, 0.3], p) == pytest.approx(4.8)


def test_cosine_of_a_zero_vector_is_zero_with_finite_derivatives():
    def of(q):
        return Cosine().score(PartParams({"factor": jnp.array(5.0)}), q, jnp.array([[4.0, 3.0]]), HERE, HERE)[
            0, 0
        ]

    zero = jnp.zeros((1, 2))
    assert of(zero) == 0
    assert jnp.isfinite(jax.grad(of)(zero)).all()
    assert jnp.isfinite(jax.hessian(of)(zero)).all()


def test_euclidean_is_minus_the_squared_distance_by_the_root_of_dim():
    q, k = np.array([1.0, 1.0, 1.0, 1.0]), np.array([0.0, 2.0, 1.0, 3.0])
    assert score(Euclidean(), q, k) == -3.0
    assert score(Euclidean(), q + 7, k + 7) == -3.0
    assert score(Euclidean(scale=2.0), q, k) == -12.0


def test_disentangled_adds_three_terms_under_one_scale():
    p = {"key": [[9.0, 9, 9]] * 3 + [[0, 1, 0]], "query": [[9.0, 9, 9], [1, 0, 0], [9, 9, 9], [9, 9, 9]]}
    # q.k = 5, q.kr[d(5,4) = 3] = 2, k.qr[d(4,5) = 1] = 3, and the root of 3 * 3 is 3.
    assert score(Disentangled(max_distance=2), [1.0, 2.0, 0.0], [3.0, 1.0, 1.0], p) == pytest.approx(10 / 3)


def test_disentangled_clips_far_distances():
    rows = {"key": [[1.0], [10], [100], [1000]], "query": [[0.0]] * 4}
    places = [score(Disentangled(max_distance=2), [1.0], [0.0], rows, i=5, j=j) * 3**0.5 for j in range(9)]
    assert places == pytest.approx([1000, 1000, 1000, 1000, 1000, 100, 10, 1, 1])


def test_disentangled_with_zero_tables_is_dot_at_another_scale():
    zero = {"key": np.zeros((4, 2)), "query": np.zeros((4, 2))}
    assert score(Disentangled(max_distance=2), [1.0, 2.0], [3.0, 4.0], zero) == pytest.approx(11 / 6**0.5)


PARTS = [Dot(), Additive(hidden=3), Bilinear(), Cosine(), Euclidean(), Disentangled(max_distance=2)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_scores_of_bfloat16_rows_are_float32(part):
    params = part.init(jax.random.key(0), HeadShape(1, 6, 5))
    p = PartParams({name: x[0] for name, x in params.items()})
    q, k = jnp.ones((2, 6), jnp.bfloat16), jnp.ones((3, 6), jnp.bfloat16)
    made = part.score(p, q, k, jnp.arange(2), jnp.arange(3))
    assert (made.dtype, made.shape) == (jnp.float32, (2, 3))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_parameters_have_a_leading_axis_of_heads(part):
    for x in jax.tree.leaves(part.init(jax.random.key(0), HeadShape(3, 6, 5, 1))):
        assert x.shape[0] == 3


def selective_rotary(query, key, q, k, base):
    """Scores where the running sums of angles are `query` and `key`."""
    p = PartParams({}, query={"angle": jnp.array(query)}, key={"angle": jnp.array(key)})
    return SelectiveRotary(base=base).score(p, q, k, jnp.arange(len(q)), jnp.arange(len(k)))


def test_selective_rotary_turns_by_the_difference_of_the_running_sums():
    """The first pair turns by 90 - 30 degrees, the second by (240 - 120) / 4, the fifth feature not."""
    q, k = jnp.array([[1.0, 1, 0, 0, 3]]), jnp.array([[2.0, 2, 0, 0, 5]])
    turn = math.pi / 6
    made = selective_rotary([[3 * turn, 8 * turn]], [[turn, 4 * turn]], q, k, 16.0)
    expected = (2 * math.cos(math.pi / 3) + 2 * math.cos(math.pi / 6) + 15) / 5**0.5
    np.testing.assert_allclose(made, [[expected]], rtol=1e-6)
    # A quarter turn takes the first axis to the third.
    side = selective_rotary([[3 * turn, 0.0]], [[0.0, 0.0]], q, jnp.array([[0.0, 0, 7, 0, 0]]), 16.0)
    np.testing.assert_allclose(side, [[7 / 5**0.5]], rtol=1e-6)


def test_selective_rotary_with_angles_of_one_is_rotary():
    keys = jax.random.split(jax.random.key(0), 2)
    q, k = (jax.random.normal(key, (5, 6)) for key in keys)
    steps = jnp.ones((5, 3)).cumsum(axis=0)
    part, at = Rotary(base=100.0), jnp.arange(5)
    expected = Dot().score(PartParams({}), part.query(PartParams({}), q, at), part.key(k, at), at, at)
    np.testing.assert_allclose(selective_rotary(steps, steps, q, k, 100.0), expected, atol=1e-5)
