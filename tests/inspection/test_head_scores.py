"""Scores of heads: numbers worked by hand."""

import numpy as np
import pytest

from attnkit.inspection import head_scores
from attnkit.inspection.maps import Head, layer_name

TOKENS = np.array([[5, 7, 5, 7]])
UNIFORM = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
PREVIOUS = np.eye(4, k=-1) + np.eye(4) * [1, 0, 0, 0]
WEIGHTS = np.stack([UNIFORM, PREVIOUS])[None]


def test_previous_same_and_first():
    np.testing.assert_allclose(head_scores.previous_token(WEIGHTS), [(1 / 2 + 1 / 3 + 1 / 4) / 3, 1])
    np.testing.assert_allclose(head_scores.same_token(WEIGHTS), [(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, 1 / 4])
    np.testing.assert_allclose(head_scores.first_token(WEIGHTS), [(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, 1 / 2])


def test_duplicates_and_what_came_after_them():
    """Row 2 has a 5 at place 0, and after it place 1; row 3 a 7 at place 1, and after it place 2."""
    np.testing.assert_allclose(head_scores.duplicate_token(WEIGHTS, TOKENS), [(1 / 3 + 1 / 4) / 2, 0])
    np.testing.assert_allclose(head_scores.prefix_matching(WEIGHTS, TOKENS), [(1 / 3 + 1 / 4) / 2, 1])
    np.testing.assert_allclose(head_scores.induction(WEIGHTS, 2), [(1 / 3 + 1 / 4) / 2, 1])
    none = head_scores.duplicate_token(WEIGHTS, np.arange(4)[None])
    assert np.isnan(none).all()


def test_rows_that_are_padding_do_not_count():
    real = np.array([[True, True, True, False]])
    np.testing.assert_allclose(head_scores.duplicate_token(WEIGHTS, TOKENS, real), [1 / 3, 0])
    padded = head_scores.profile(WEIGHTS, np.array([[5, 5, 0, 0]]), np.array([[True, True, False, False]]))
    np.testing.assert_allclose(padded["duplicate token"], [1 / 2, 1])


def test_signed_maps_are_read_by_size():
    np.testing.assert_allclose(head_scores.previous_token(-3 * WEIGHTS), head_scores.previous_token(WEIGHTS))


def test_positional_heads_do_not_depend_on_the_text():
    other = np.stack([UNIFORM, np.eye(4)])[None]
    two = np.concatenate([WEIGHTS, other])
    # Head 1 agrees in row 0 alone: overlap with the mean is 1 there and 1/2 elsewhere.
    np.testing.assert_allclose(head_scores.positional(two), [1, (1 + 3 / 2) / 4])


def test_separators_distances_and_value_norms():
    np.testing.assert_allclose(
        head_scores.separator(WEIGHTS, TOKENS, [7]), [(0 + 1 / 2 + 1 / 3 + 2 / 4) / 4, 1 / 4]
    )
    np.testing.assert_allclose(head_scores.distances(WEIGHTS, 2)[1], [1 / 4, 3 / 4, 0])
    values = np.full((1, 2, 4, 2), 3.0)
    np.testing.assert_allclose(head_scores.value_weighted(-WEIGHTS, values), WEIGHTS * 18**0.5, rtol=1e-6)


def test_copying_is_one_for_the_identity_and_minus_one_for_its_opposite():
    table = np.eye(3, 5)  # [vocabulary, model_dim]
    ov = np.stack([np.eye(5), -2 * np.eye(5), np.roll(np.eye(5), 1, axis=1)])
    np.testing.assert_allclose(head_scores.copying(table, ov, table.T)[:2], [1, -1])
    assert head_scores.copying(table, 0 * ov, table.T).tolist() == [0, 0, 0]


def test_repeated_tokens_repeat_and_have_no_other_duplicates():
    tokens = head_scores.repeated_tokens(9, 5, 3)
    assert tokens.shape == (3, 10) and (tokens[:, :5] == tokens[:, 5:]).all()
    assert all(len(set(row[:5])) == 5 for row in tokens)
    with pytest.raises(ValueError, match="vocabulary = 3: expected at least period = 5"):
        head_scores.repeated_tokens(3, 5, 1)


def test_heads_are_named_from_zero_everywhere():
    assert str(Head("decoder.0.self", 0)) == "L0H0"
    assert layer_name("decoder.2.cross") == "cross.L2"
