import math
import re
from typing import ClassVar

import pytest

from attnkit.conformance import Finding, Unclaimed, check
from attnkit.conformance.matrix import make_matrix
from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Position
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

FOUND = [
    Finding("output", "dense", 3e-16, 1e-12, "causal mask"),
    Finding("output", "dense", 5e-13, 1e-12, "window mask"),
    Finding("vjp", "dense", 2e-3, 1e-10, "causal mask, vjp.q"),
    Unclaimed("vjp", "step", "decoding is not differentiated"),
]


def test_a_cell_shows_the_worst_number():
    cells = make_matrix("x", ("dense", "step"), FOUND).cells
    assert str(cells["output", "dense"]) == "pass 5e-13"
    assert str(cells["vjp", "dense"]) == "FAIL 2e-03"
    assert cells["output", "dense"].count == 2


def test_text_has_every_row_every_failure_and_every_reason():
    matrix = make_matrix("x", ("dense", "step"), FOUND, "nobody looked")
    assert matrix.text().splitlines() == [
        "x       dense       step",
        "output  pass 5e-13  not claimed",
        "vjp     FAIL 2e-03  not claimed",
        "",
        "FAIL  vjp, dense: 2.00e-03 > 1e-10 (causal mask, vjp.q)",
        "not claimed  output, step: nobody looked",
        "not claimed  vjp, step: decoding is not differentiated",
    ]
    assert not matrix.ok
    assert matrix.failed() == {"vjp"}


def test_nan_is_a_failure_and_worse_than_any_number():
    found = [Finding("output", "dense", error, 1e-12) for error in (1.0, math.nan, math.inf)]
    cell = make_matrix("x", ("dense",), found[:2]).cells["output", "dense"]
    assert not cell.ok and math.isnan(cell.worst.error)
    assert not make_matrix("x", ("dense",), found[1:2]).ok


@options
class Refusing(Position):
    def key(self, k, j):
        raise ValueError("dim = 12 is not to my taste")


def test_an_exception_is_an_error_once_with_its_place_and_no_failure_of_a_property():
    matrix = check(Refusing, only=frozenset({"causality", "agreement", "decoding"}))
    assert not matrix.ok and matrix.failed() == set() and len(matrix.errors) == 1
    place = rf"{re.escape(__file__)}:\d+, Refusing\.key"
    assert re.fullmatch(
        rf"ValueError: dim = 12 is not to my taste \[{place}\] \(in agreement, decoding, causality\)",
        matrix.errors[0],
    )
    assert matrix.text().endswith(f"ERROR  {matrix.errors[0]}")


@options
class Slipping(Position):
    claims: ClassVar = ("translation",)
    unclaimed: ClassVar = {"translation": "slips on purpose"}

    def bias(self, p, q, k, i, j):
        return -0.1 * (i[:, None] + j[None, :]) * (j[None, :] % 3)


def test_a_property_that_is_known_not_to_hold_is_not_claimed_for_its_reason():
    matrix = check(Slipping, only=frozenset({"translation"}))
    assert matrix.ok
    assert "translation, reference: slips on purpose" in matrix.reasons()


def test_what_is_not_a_variant_is_refused():
    with pytest.raises(TypeError, match="expected a Scored"):
        check(3)
    with pytest.raises(ValueError, match="'speed'"):
        check(Attention, only=frozenset({"speed"}))


def test_the_own_mask_of_a_variant_is_kept():
    assert check(Attention(mask=Causal()), only=frozenset({"causality", "empty rows", "permutation"})).ok
