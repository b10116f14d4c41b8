"""Parts of the report: results by split, answers by class, samples, rows that are tapped."""

import re

import numpy as np
import pytest
from page_reader import read

from attnkit.errors import DataError
from attnkit.inspection.page import render
from attnkit.inspection.report import AttentionMap, Confusion, MapExample, Report, Result, Sample
from attnkit.inspection.writing import DASH

pytestmark = pytest.mark.one_python


def test_metrics_are_rows_and_splits_are_columns():
    made = [
        Result(name, value, split, floor, unit=unit)
        for name, unit, floor, values in (
            ("exact match", "fraction", 0.125, (0.5, 0.25)),
            ("loss", "nats per token", None, (1.5,)),
        )
        for split, value in zip(("valid", "test"), values, strict=False)
    ]
    reader = read(render(Report("t", results=tuple(made))))
    assert reader.texts["th"] == ["metric", "floor", "valid", "test", "exact match", "loss nats per token"]
    assert reader.texts["td"] == ["12.5\u202f%", "50.0\u202f%", "25.0\u202f%", DASH, "1.500", DASH]


def test_answers_of_classes_are_a_table_with_test_first():
    counts = np.array([[3, 1], [0, 5]])
    confusion = tuple(Confusion(split, ("cat", "dog"), counts) for split in ("valid", "test"))
    reader = read(render(Report("t", confusion=confusion)))
    assert reader.texts["h3"] == ["Answers on test", "Answers on valid"]
    assert reader.texts["td"] == ["3", "1", "0", "5"] * 2
    with pytest.raises(DataError, match="expected a row and a column for each of 2 classes"):
        Confusion("test", ("cat", "dog"), np.zeros((3, 2)))


def test_wrong_samples_come_first_with_their_picture_and_their_turns():
    picture = np.zeros((2, 2, 3), np.uint8)
    samples = (
        Sample("a\nb\nc", "yes", "yes", True, "test", ("a", "b", "c")),
        Sample("p", "no", "yes", False, "valid", picture=picture),
    )
    page = render(Report("t", samples=samples))
    reader = read(page)
    assert [p for p in reader.texts["p"] if p[:1] in "✓✗"] == ["✗ wrong", "✓ right"]
    assert page.count("<img") == 1 and page.index("<img") < page.index("turn user")
    assert re.findall(r'turn (\w+)">(\w)', page) == [("user", "a"), ("system", "b"), ("user", "c")]


def test_a_token_that_is_tapped_shows_the_heaviest_keys_of_its_row():
    weights = np.array([[[0.75, 0.0, 0.25], [0.0, 1.0, 0.0], [0.125, 0.375, 0.5]]])
    drawn = AttentionMap("m", weights, ("a", "b", "c"), ("x", "y", "z"), heads=("L1H3",))
    page = render(Report("t", attention=(MapExample("l", (drawn,)),)))
    rows = re.findall(r'name="t0-0-0">(\w)</label><span class="looked">(.*?)</span>', page)
    shown = [(query, re.findall(r">(\w) <i>([\d.]+)</i></b>", row)) for query, row in rows]
    assert shown == [
        ("a", [("x", "0.7500"), ("z", "0.2500")]),
        ("b", [("y", "1.000")]),
        ("c", [("z", "0.5000"), ("y", "0.3750"), ("x", "0.1250")]),
    ]
