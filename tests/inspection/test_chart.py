import re

import numpy as np
import pytest

from attnkit.errors import DataError
from attnkit.inspection.chart import POINTS, Axis, draw, summarize
from attnkit.inspection.report import Curve, Line


def test_axis_places_and_ticks_by_hand():
    axis = Axis(0.0, 2000.0)
    assert axis.at(500.0) == 0.25
    assert axis.ticks(4) == [0, 500, 1000, 1500, 2000]
    log = Axis(0.01, 100.0, log=True)
    assert log.at(1.0) == pytest.approx(0.5)
    assert log.ticks(5) == pytest.approx([0.01, 0.1, 1, 10, 100])


def test_buckets_keep_mean_least_and_greatest():
    steps = np.arange(4 * POINTS)
    found = summarize(Line("loss", steps, steps % 4))
    assert len(found.steps) == POINTS
    assert found.steps[0] == 3
    assert (found.mean[7], found.least[7], found.greatest[7]) == (1.5, 0, 3)


def test_one_nan_does_not_hide_its_neighbors():
    values = np.arange(4.0 * POINTS) % 4
    values[29] = np.nan
    found = summarize(Line("loss", np.arange(4 * POINTS), values))
    assert (found.mean[7], found.greatest[7], found.wrong[7], found.wrong.sum()) == (5 / 3, 3, 1, 1)


def test_values_that_are_not_finite_are_counted_and_break_the_line():
    values = [3.0, 2.0, np.nan, 1.0, np.inf]
    page = draw(Curve("loss", (Line("training", range(5), values),)))
    assert "2 NaN or infinite, first at 2" in page
    assert page.count('class="wrong"') == 2
    assert page.count('<polyline class="line') == 1
    assert re.findall(r'line dot line0" d="([^"]*)"', page)[0].count("M") == 2
    assert page.count("line dot") == 2  # a run of two, and one alone


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf], [0.0, -1.0]])
def test_curves_without_a_drawable_value_say_so(values):
    page = draw(Curve("loss", (Line("training", range(len(values)), values),), log=True))
    assert "No finite values." in page


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [1e-30, 1e30]])
def test_extreme_curves_have_finite_places(values, log):
    page = draw(Curve("loss", (Line("training", range(len(values)), values),), log=log, floor=2.0))
    assert "nan" not in page
    assert "No finite values." not in page


def test_a_line_needs_one_value_a_step():
    with pytest.raises(DataError, match="3 steps and 2 values"):
        Line("loss", [1, 2, 3], [1.0, 2.0])


def test_a_long_curve_stays_small():
    steps = np.arange(200_000)
    assert len(draw(Curve("loss", (Line("training", steps, np.sin(steps)),)))) < 40_000


def test_the_axis_of_shares_goes_from_0_to_1():
    page = draw(Curve("share", (Line("valid", [0, 4], [0.25, 0.5]),), share=True))
    assert 'points="0.0,750.0 1000.0,500.0"' in page
    assert re.findall(r'class="tick y" style="bottom:([\d.]+)%"[^>]*>([\d.]+)<', page) == [
        (f"{20 * n:.2f}", f"{n / 5:g}") for n in range(6)
    ]
