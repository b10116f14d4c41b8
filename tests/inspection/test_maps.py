import math

import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.errors import DataError
from attnkit.inspection.maps import (
    Head,
    Observation,
    align,
    align_heads,
    alignment_accuracy,
    choose_and_score,
    choose_head,
    entropy,
    evidence_mass,
    head_statistics,
    uniform_alignment,
)

pytestmark = pytest.mark.one_python

WEIGHTS = np.array(
    [
        [0.6, 0.3, 0.1, 0.0, 0.0],
        [0.1, 0.2, 0.3, 0.4, 0.0],
        [0.2, 0.2, 0.2, 0.2, 0.2],
    ]
)
EVIDENCE = np.array(
    [
        [True, False, False, False, False],
        [False, True, True, False, False],
        [False, False, False, False, False],
    ]
)


def one_hot(columns, keys=5):
    return np.eye(keys)[list(columns)]


def test_accuracy_and_mass_by_hand_count_only_rows_with_evidence():
    assert alignment_accuracy(WEIGHTS, EVIDENCE) == 0.5
    assert evidence_mass(WEIGHTS, EVIDENCE) == pytest.approx((0.6 + 0.5) / 2)


def test_heads_are_kept_and_jax_arrays_are_read():
    heads = jnp.asarray(np.stack([WEIGHTS, WEIGHTS[:, [3, 0, 4, 1, 2]]]))
    np.testing.assert_allclose(alignment_accuracy(heads, EVIDENCE), [0.5, 0.0])
    np.testing.assert_allclose(evidence_mass(heads, EVIDENCE), [0.55, 0.05], atol=1e-7)


def test_uniform_attention_scores_exactly_chance():
    uniform = np.full((3, 5), 0.2)
    chance = (1 / 5 + 2 / 5) / 2
    assert uniform_alignment(EVIDENCE) == pytest.approx(chance)
    assert alignment_accuracy(uniform, EVIDENCE) == pytest.approx(chance)
    assert evidence_mass(uniform, EVIDENCE) == pytest.approx(chance)


def test_chance_counts_only_allowed_keys():
    allowed = np.tril(np.ones((3, 5), bool))
    assert uniform_alignment(EVIDENCE, allowed) == pytest.approx((1 / 1 + 1 / 2) / 2)


def test_ties_count_by_the_share_that_is_evidence():
    weights = [[0.25, 0.25, 0.25, 0.25, 0.0]]
    assert alignment_accuracy(weights, [[True, False, False, False, True]]) == 0.25


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_empty_or_not_finite_are_wrong(bad):
    assert alignment_accuracy(np.zeros((3, 5)), EVIDENCE) == 0.0
    broken = WEIGHTS.copy()
    broken[0, 3] = bad
    assert alignment_accuracy(broken, EVIDENCE) == 0.0


def test_no_evidence_gives_nan_not_a_score():
    found = align(WEIGHTS, np.zeros((3, 5), bool))
    assert found.rows == 0
    assert all(map(math.isnan, (found.accuracy, found.mass, found.chance)))


def test_align_reports_the_control_beside_the_score():
    found = align(WEIGHTS, EVIDENCE)
    assert (found.accuracy, found.rows) == (0.5, 2)
    assert (found.mass, found.chance) == (pytest.approx(0.55), pytest.approx(0.3))


def test_align_heads_weighs_rows_of_all_examples_alike():
    long = Observation({"cross": one_hot([0, 1, 2])[None]}, np.eye(3, 5, dtype=bool))
    short = Observation({"cross": one_hot([1])[None]}, np.eye(1, 5, dtype=bool))
    found = align_heads([long, short])[Head("cross", 0)]
    assert (found.accuracy, found.rows) == (0.75, 4)


def test_the_best_head_is_chosen_on_one_set_and_scored_on_another():
    evidence = np.eye(3, 5, dtype=bool)
    good, fair, poor = one_hot([0, 1, 2]), one_hot([0, 1, 3]), one_hot([3, 3, 3])
    first = Observation({"a": np.stack([poor, fair]), "b": np.stack([good, poor])}, evidence)
    second = Observation({"a": np.stack([good, good]), "b": np.stack([fair, good])}, evidence)
    chosen = choose_and_score([first], [second])
    assert chosen.head == Head("b", 0)
    assert chosen.chosen_on.accuracy == 1.0
    assert chosen.scored.accuracy == pytest.approx(2 / 3)


def test_equal_accuracy_is_decided_by_mass():
    evidence = np.array([[True, False, False]])
    weights = np.array([[[0.5, 0.3, 0.2]], [[0.9, 0.05, 0.05]]])
    assert choose_head([Observation({"a": weights}, evidence)]) == Head("a", 1)


def test_selection_on_the_scored_examples_is_refused():
    one = Observation({"a": WEIGHTS[None]}, EVIDENCE)
    copy = Observation({"a": WEIGHTS[None].copy()}, EVIDENCE.copy())
    with pytest.raises(DataError, match="share 1 example"):
        choose_and_score([one], [copy])


def test_choosing_without_evidence_is_refused():
    with pytest.raises(DataError, match="no row has evidence"):
        choose_head([Observation({"a": WEIGHTS[None]}, np.zeros((3, 5), bool))])


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(DataError, match=r"\(3, 5\) and evidence \(3, 7\)"):
        alignment_accuracy(WEIGHTS, np.zeros((3, 7), bool))


def test_entropy_by_hand():
    found = entropy([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(found, [1.5 * math.log(2), 0.0, np.nan], atol=1e-15)


def test_statistics_by_hand():
    weights = np.array([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]])
    found = head_statistics(weights)
    np.testing.assert_allclose(found.distance, [(0 + 0.5 + 1.25) / 3])
    np.testing.assert_allclose(found.offset, [(0 + 0.5 + 1.25) / 3])
    np.testing.assert_allclose(found.spread, [(0 + 0.5 + math.sqrt(0.1875)) / 3])
    np.testing.assert_allclose(found.previous, [(0 + 0.5 + 0.75) / 3])
    np.testing.assert_allclose(found.same, [(1 + 0.5 + 0) / 3])
    np.testing.assert_allclose(found.first, [(1 + 0.5 + 0.25) / 3])


def test_statistics_leave_out_rows_that_attend_nowhere_and_show_nan():
    weights = np.zeros((2, 3, 5))
    weights[0, 1] = [0, 1, 0, 0, 0]
    weights[1, 0] = [np.nan, 1, 0, 0, 0]
    found = head_statistics(weights, queries=[10, 11, 12], keys=[0, 10, 20, 30, 40])
    np.testing.assert_allclose(found.distance, [1.0, np.nan])
    np.testing.assert_allclose(found.previous, [1.0, 0.0])


def test_examples_that_look_alike_are_told_apart_by_what_they_are():
    even = {"pool": np.full((1, 1, 7), 1 / 7)}
    known = np.eye(1, 7, dtype=bool)
    one, other = (Observation(even, known, example=name) for name in ("one", "other"))
    assert choose_and_score([one], [other]).scored.rows == 1
    for shared in ([one], [other, one]):
        with pytest.raises(DataError, match=r"share 1 example\(s\)"):
            choose_and_score([one], shared)
    with pytest.raises(DataError, match=r"share 1 example\(s\)"):
        choose_and_score([Observation(even, known)], [Observation(even, known)])
