from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnkit.tasks.edit_distance import character_accuracy, edit_distances

pytestmark = pytest.mark.one_python


def by_definition(first, second):
    @cache
    def distance(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (first[i - 1] != second[j - 1]),
        )

    return distance(len(first), len(second))


words = st.text(alphabet="abß😀", max_size=7)


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(words, words), max_size=5))
def test_distances_are_those_of_the_recursive_definition(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    assert edit_distances(first, second).tolist() == [by_definition(a, b) for a, b in pairs]


def test_character_accuracy_by_hand():
    # One of four characters wrong, then twice as many insertions as characters, then all right.
    assert character_accuracy(["drei", "ab", "x"], ["dref", "abcdef", "x"]) == pytest.approx(1.75 / 3)


def test_unequal_counts_are_an_error():
    with pytest.raises(ValueError, match="2 strings against 1"):
        edit_distances(["a", "b"], ["a"])
