"""Parts that depend on content, and parts with run-time data: numbers worked by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.scored.contract import HEADS, PartParams, Parts, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.cope import Cope
from attnkit.scored.position.learned_absolute import LearnedAbsolute
from attnkit.scored.position.local_predictive import LocalPredictive
from attnkit.scored.position.localness import Localness
from attnkit.scored.position.log_length_scale import LogLengthScale
from attnkit.scored.position.mrope import Mrope
from attnkit.scored.position.path import Path
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.position.selective import Selective
from attnkit.scored.position.sinusoidal import Sinusoidal
from attnkit.scored.score.dot import Dot
from attnkit.scored.score.location import Location
from attnkit.scored.score.trilinear import Trilinear
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

ALL = jnp.ones((1, 3), bool)
NONE = jnp.zeros((1, 3))


def test_cope_counts_half_a_position_where_scores_are_zero():
    p, q = PartParams({"place": jnp.array([[0.0], [4.0]])}), jnp.array([[1.0]])
    given = (p, q, jnp.zeros((3, 1)), NONE, ALL, jnp.array([2]), jnp.arange(3))
    s, carry = Cope(max_position=1).scan_keys(*given, jnp.zeros(1))
    np.testing.assert_allclose(s, [[4, 4, 2]])  # places 1.5 and 1 end at 1; 0.5 lies between 0 and 4
    assert carry.tolist() == [1.5]
    s, carry = Cope(max_position=1).scan_keys(*given, jnp.full(1, 0.5))
    np.testing.assert_allclose(s, [[4, 4, 4]])
    assert carry.tolist() == [2.0]


def test_cope_does_not_count_hidden_keys_and_adds_without_a_scale():
    p, q = PartParams({"place": jnp.array([[0.0] * 4, [3.0] * 4, [9.0] * 4])}), jnp.ones((1, 4))
    keep = jnp.array([[True, False, True]])
    s, carry = Cope(max_position=2).scan_keys(
        p, q, jnp.zeros((3, 4)), NONE, keep, jnp.array([2]), jnp.arange(3), jnp.zeros(1)
    )
    np.testing.assert_allclose(s, [[12, 6, 6]])
    assert carry.tolist() == [1.0]


def test_scores_grow_with_the_power_of_the_logarithm_that_the_token_asks_for():
    """Factors 1 + 3 log(2)^0 = 4 of the first token and 1 + 2 log(3)^2 of the second."""
    p = PartParams({}, query={"b": jnp.array([[3.0], [2.0]]), "g": jnp.array([[0.0], [2.0]])})
    s = LogLengthScale().transform_logits(p, jnp.ones((2, 3)), jnp.arange(2), jnp.arange(3))
    np.testing.assert_allclose(s, [[4] * 3, [1 + 2 * math.log(3) ** 2] * 3], rtol=1e-6)
    made = [LogLengthScale().activate(name, jnp.zeros(1)).item() for name in ("b", "g")]
    np.testing.assert_allclose(made, [math.log(2), 0], rtol=1e-6)


def test_path_reflects_the_query_at_every_token_on_the_way():
    """The token at 1 reflects the first axis, that at 2 halves nothing: b = 0."""
    q, k = jnp.array([[1.0, 0]]), jnp.array([[3.0, 4], [5, 6], [7, 8]])
    inputs = {"direction": jnp.array([[0.0, 1], [1, 0], [1, 0]]), "strength": jnp.array([[2.0], [2], [0]])}
    p = PartParams({}, key=inputs)
    s, change = Path().scan_keys(p, q, k, NONE, ALL, jnp.array([2]), jnp.arange(3), jnp.zeros((1, 2)))
    np.testing.assert_allclose(s, [[-6 / 2**0.5, 0, 0]], rtol=1e-6)  # (-1, 0) instead of (1, 0), at key 0
    np.testing.assert_allclose(change, [[-2, 0]])


def test_path_makes_directions_of_length_one_and_strengths_between_0_and_2():
    made = Path().activate("direction", jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(made, [0.6, 0.8], rtol=1e-6)
    assert Path().activate("strength", jnp.array([0.0])).item() == 1


def selective(judge, k, keep, i):
    """The burden of each key, one head."""

    def one(judge, k):
        s = jnp.zeros((len(i), len(k)))
        given = (jnp.zeros((len(i), k.shape[1])), k, s, keep, i, jnp.arange(len(k)))
        return Selective().scan_keys(PartParams({}, key={"judge": judge}), *given, jnp.zeros(len(i)))[0]

    return -jax.vmap(one, axis_name=HEADS)(judge[None], k[None])[0]


def test_selective_sums_what_tokens_between_say_of_a_key():
    judge, k = (
        jnp.array([[9.0] * 4, [9] * 4, [1] * 4, [2] * 4, [9] * 4]),
        jnp.arange(5.0)[:, None] * jnp.ones(4),
    )
    i = jnp.arange(5)
    burden = selective(judge, k, i[:, None] >= i, i)
    # u_l . k_j / 2 is 2 l' j with u_2 = 1: 2 j, u_3 = 2: 4 j; never of key 0, nor of oneself.
    expected = [[0] * 5, [0] * 5, [0] * 5, [0, 2, 0, 0, 0], [0, 2 + 4, 8, 0, 0]]
    np.testing.assert_allclose(burden, expected)
    unseen = selective(judge, k, (i[:, None] >= i) & (i != 2), i)
    np.testing.assert_allclose(unseen[4], [0, 4, 8, 0, 0])
    np.testing.assert_allclose(selective(-judge, k, i[:, None] >= i, i), np.zeros((5, 5)))


def test_selective_cannot_be_cut_into_blocks_of_keys():
    shape = HeadShape(1, 2, 2)
    scored = Scored(score=Dot(), position=(Selective(),), normalizer=Softmax(), mask=Causal())
    x = jnp.ones((1, 600, 2))
    inputs = Parts({}, {}, ({"judge": x},))
    assert "1 of" not in str(forms.explain(scored, 600, 600)) and not jax.tree.leaves(
        scored.init(jax.random.key(0), shape)
    )
    with pytest.raises(
        ValueError, match=r"Selective looks at all keys at once .* use implementation = 'reference'"
    ):
        forms.attend(scored, None, x, x, x, inputs=inputs, block=(64, 64))


def test_localness_falls_with_the_squared_distance_from_the_predicted_place():
    learned = {"into": jnp.zeros((2, 2)), "place": jnp.ones(2), "width": jnp.ones(2)}
    p = PartParams(learned, data=Data(scalar={"length": 8}))
    # sigmoid(0) = 1/2: place 4, width 4, deviation 2.
    made = Localness().bias(p, jnp.ones((1, 2)), jnp.ones((3, 2)), jnp.array([0]), jnp.array([0, 4, 6]))
    np.testing.assert_allclose(made, [[-2, 0, -0.5]])


def test_local_predictive_sees_a_window_and_weighs_it_by_a_gaussian():
    part, q, j = LocalPredictive(half_width=2), jnp.ones((1, 2)), jnp.arange(6)
    p = PartParams({"into": jnp.zeros((2, 2)), "place": jnp.ones(2)}, data=Data(scalar={"length": 4}))
    kept = part.select(p, q, jnp.ones((6, 2)), jnp.array([0]), j, ())
    assert kept.tolist() == [[True] * 5 + [False]]
    made = part.transform_weights(p, jnp.full((1, 6), 2.0), q, jnp.array([0]), j)[0, :5]
    np.testing.assert_allclose(made, 2 * np.exp([-2, -0.5, 0, -0.5, -2]), rtol=1e-6)


def test_trilinear_adds_three_terms():
    p = PartParams({"query": jnp.array([1.0, 0]), "key": jnp.array([0.0, 1]), "product": jnp.array([1.0, 1])})
    at = jnp.array([0])
    assert Trilinear().score(p, jnp.array([[1.0, 2]]), jnp.array([[3.0, 4]]), at, at).item() == 1 + 4 + 3 + 8


def test_location_looks_at_the_query_and_the_place_only():
    p = PartParams({"place": jnp.array([[9.0, 9], [3, 5]])})
    q, k = jnp.array([[1.0, 2]]), jnp.full((2, 2), 100.0)
    made = Location(length=2).score(p, q, k, jnp.array([0]), jnp.array([1, 2]))[0]
    assert made[0] == 13 and jnp.isnan(made[1])


def test_sinusoidal_adds_sine_and_cosine():
    made = Sinusoidal().key(jnp.array([[1.0, 2.0]]), jnp.array([3]))
    np.testing.assert_allclose(made, [[1 + math.sin(3), 2 + math.cos(3)]], rtol=1e-6)
    with pytest.raises(ValueError, match="dim = 3 must be even"):
        Sinusoidal().key(jnp.ones((1, 3)), jnp.array([0]))


def test_learned_absolute_adds_vectors_to_both_sides():
    p = PartParams({"query": jnp.array([[9.0, 9], [1, 2]]), "key": jnp.array([[4.0, 0], [9, 9]])})
    part = LearnedAbsolute(length=2)
    q = part.query(p, jnp.ones((1, 2)), jnp.array([1]))
    np.testing.assert_array_equal(q, [[2, 3]])
    made = part.bias(p, q, jnp.ones((2, 2)), jnp.array([1]), jnp.array([0, 2]))[0]
    assert made[0] == pytest.approx(8 / 2**0.5) and jnp.isnan(made[1])
    assert jnp.isnan(part.query(p, jnp.ones((1, 2)), jnp.array([2]))).all()


def test_mrope_turns_sections_by_time_row_and_column():
    place = Mrope().position_ids(
        jnp.arange(1), {"time": jnp.array([1]), "row": jnp.array([2]), "column": jnp.array([3])}
    )
    turned = Mrope(sections=(1, 2, 1)).key(jnp.array([[1.0] * 4 + [0] * 4]), place)
    angles = [1, 2 * 0.1, 2 * 0.01, 3 * 0.001]
    np.testing.assert_allclose(turned, [np.concatenate([np.cos(angles), np.sin(angles)])], rtol=1e-5)


def test_mrope_of_text_is_rotary():
    x, at = jax.random.normal(jax.random.key(0), (5, 8)), jnp.arange(5)
    same = jnp.stack([at] * 3, axis=1)
    np.testing.assert_allclose(Mrope().key(x, same), Rotary().key(x, at), rtol=1e-6)


def test_mrope_wants_its_positions():
    scored = Scored(score=Dot(), position=(Mrope(),), normalizer=Softmax())
    x = jnp.ones((1, 2, 8))
    with pytest.raises(ValueError, match=r"query\.time, key\.column, key\.row, key\.time, which Mrope reads"):
        forms.attend(scored, None, x, x, x)
    with pytest.raises(ValueError, match=r"data lacks key\.column, key\.row, key\.time"):
        forms.extend(scored, forms.empty_cache(scored, HeadShape(1, 8, 8), 3), x, x)
