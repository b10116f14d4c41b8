import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from num2words import num2words

from attnkit.tasks.number_alignment import MORPHEMES, alignment, segments

pytestmark = pytest.mark.one_python

VALUES = {num2words(number): number for number in (*range(20), *range(20, 100, 10))}
VALUES |= {"hundred": 100, "thousand": 1000}


def value_of(morpheme):
    """The number that the morpheme means, found by asking num2words for numbers until one is named so."""
    if morpheme in ("ein", "hundert", "tausend"):
        return {"ein": 1, "hundert": 100, "tausend": 1000}[morpheme]
    return next(number for number in range(100) if num2words(number, lang="de") == morpheme)


GERMAN = {morpheme: value_of(morpheme) for morpheme in MORPHEMES if morpheme != "und"}


def names(number):
    english = num2words(number, lang="en").replace(",", "")
    return english, num2words(number, lang="de")


def aligned(number):
    """(German morpheme, its index, English word, its index) of every True of the alignment."""
    table, morphemes, words = alignment(*names(number))
    english, german = names(number)
    return [
        (german[slice(*morphemes[row])], int(row), english[slice(*words[column])], int(column))
        for row, column in np.argwhere(table)
    ]


def test_32_morphemes_segment_the_names_of_all_numbers_below_10000_and_all_are_needed():
    used = set()
    for number in range(10_000):
        name = num2words(number, lang="de")
        parts = segments(name)
        assert "".join(parts) == name
        used |= set(parts)
    assert len(MORPHEMES) == 32 and used == set(MORPHEMES)


def test_segments_are_the_longest_that_fit():
    assert segments("dreizehn") == ["dreizehn"]
    assert segments("dreihundertzehn") == ["drei", "hundert", "zehn"]
    assert segments("siebenundsiebzig") == ["sieben", "und", "siebzig"]
    with pytest.raises(ValueError, match="'siebenmillionen' is not made of the 32 morphemes"):
        segments("siebenmillionen")


def test_units_and_tens_are_reversed():
    assert aligned(21) == [("ein", 0, "one", 1), ("zwanzig", 2, "twenty", 0)]


def test_the_example_of_the_documentation():
    assert aligned(4721) == [
        ("vier", 0, "four", 0),
        ("tausend", 1, "thousand", 1),
        ("sieben", 2, "seven", 2),
        ("hundert", 3, "hundred", 3),
        ("ein", 4, "one", 6),
        ("zwanzig", 6, "twenty", 5),
    ]


@settings(max_examples=300, deadline=None)
@given(number=st.integers(0, 999_999))
@example(0)
@example(777_777)
@example(101_000)
@example(444_444)
def test_aligned_parts_mean_the_same_number_and_only_conjunctions_are_left_out(number):
    found = aligned(number)
    assert all(GERMAN[morpheme] == VALUES[word] for morpheme, _, word, _ in found)
    english, german = names(number)
    rows = [row for _, row, _, _ in found]
    columns = [column for _, _, _, column in found]
    words = english.replace("-", " ").split()
    assert sorted(rows) == [row for row, part in enumerate(segments(german)) if part != "und"]
    assert sorted(columns) == [column for column, word in enumerate(words) if word != "and"]


def changed(before, after):
    """Indices of the parts that differ, if there are as many before as after."""
    return {i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}


@settings(max_examples=300, deadline=None)
@given(number=st.integers(0, 999_999), place=st.integers(0, 5), digit=st.integers(2, 9))
@example(777_777, 0, 2)
@example(444_444, 3, 5)
def test_changing_one_digit_changes_a_word_and_the_morphemes_aligned_with_it(number, place, digit):
    """Repeated words mean the same, so equal values do not tell them apart; changing a digit does."""
    other = number + (digit - number // 10**place % 10) * 10**place
    (english, german), (other_english, other_german) = names(number), names(other)
    words, other_words = english.replace("-", " ").split(), other_english.replace("-", " ").split()
    morphemes, other_morphemes = segments(german), segments(other_german)
    assume(len(words) == len(other_words) and len(morphemes) == len(other_morphemes))
    word, morpheme = changed(words, other_words), changed(morphemes, other_morphemes)
    assume(len(word) == 1)
    table, _, _ = alignment(english, german)
    assert {int(row) for column in word for row in np.flatnonzero(table[:, column])} == morpheme


def test_parts_that_would_name_one_place_twice_are_not_aligned():
    table, _, _ = alignment("one one and two", "zwei")
    assert table.shape == (1, 4) and not table.any()
