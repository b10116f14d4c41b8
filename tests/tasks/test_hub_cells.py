"""Cells of a data set's table: null is empty, and only text and whole numbers of classes are read."""

import math

import pytest

from attnkit.errors import DataError
from attnkit.tasks.records import cell

NAMES = ["no", "yes"]


@pytest.mark.parametrize(
    ("value", "names", "text"),
    [
        ("  two   words ", None, "two words"),
        (None, None, ""),
        (None, NAMES, ""),
        (math.nan, (), ""),
        (1, NAMES, "yes"),
        (0.0, NAMES, "no"),
        (7, (), "7"),
        (7.0, (), "7"),
        ("None", (), "None"),
    ],
)
def test_text_of_a_cell(value, names, text):
    assert cell(value, "label", "row 3", names) == text


@pytest.mark.parametrize(
    ("value", "names", "message"),
    [
        (["text", "number"], None, r"row 3: label is list .*expected text; choose another column"),
        (3, None, "label is int '3'; expected text"),
        (True, NAMES, "label is bool 'True'; expected text or a whole number"),
        (0.5, (), "label is float '0.5'; expected text or a whole number"),
        (-1, NAMES, "label -1 is none of 2 classes; a split without labels is left out"),
        (2, NAMES, "label 2 is none of 2 classes"),
    ],
)
def test_what_is_refused(value, names, message):
    with pytest.raises(DataError, match=message):
        cell(value, "label", "row 3", names)
