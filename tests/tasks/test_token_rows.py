import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnkit.tasks.token_rows import RaggedTokens, unigram_loss, vocabulary_of

pytestmark = pytest.mark.one_python

rows = st.lists(st.lists(st.integers(3, 99), max_size=7), min_size=1, max_size=11)


@given(rows=rows, data=st.data())
def test_padding_gives_each_row_and_zeros_behind_it(rows, data):
    ragged = RaggedTokens.of(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=13))
    width = ragged.longest + data.draw(st.integers(0, 3))
    padded = ragged.padded(np.array(chosen, np.int64), width)
    assert padded.shape == (len(chosen), width) and padded.dtype == np.int32
    assert padded.tolist() == [rows[row] + [0] * (width - len(rows[row])) for row in chosen]
    assert [ragged.row(index) for index in range(len(ragged))] == [tuple(row) for row in rows]


def test_a_row_wider_than_the_width_is_an_error():
    with pytest.raises(ValueError, match="width = 2: expected at least 3"):
        RaggedTokens.of([[5], [5, 6, 7]]).padded(np.array([1]), 2)


def test_the_vocabulary_begins_with_the_special_tokens_and_has_each_token_once():
    vocabulary = vocabulary_of(["b", "a", "b"])
    assert vocabulary.tokens == ("<pad>", "<begin>", "<end>", "b", "a")


def test_unigram_loss_by_hand():
    # Labels 3, 3, 2 of a vocabulary of 5: counts with one added are 2 (end), 3 and 1 of 6.
    loss = unigram_loss(np.array([3, 3, 2]), np.array([3, 2, 4]), 5)
    assert loss == pytest.approx(-(np.log(3 / 6) + np.log(2 / 6) + np.log(1 / 6)) / 3, abs=1e-12)
