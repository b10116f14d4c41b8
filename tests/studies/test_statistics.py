import math

import numpy as np
import pytest

from attnkit.studies.statistics import estimate, first_reached, holm, paired, success_rate


def test_the_t_interval_is_the_one_worked_by_hand():
    # mean 84, sample deviation sqrt(10) = 3.1623 of 5 runs, t(0.975, 4) = 2.7764: 2.7764 * 3.1623 / sqrt(5)
    found = estimate([80.0, 82.0, 84.0, 86.0, 88.0])
    assert found.mean == 84.0 and found.runs == 5
    np.testing.assert_allclose([found.low, found.high], [84 - 3.92648, 84 + 3.92648], atol=2e-5)
    # t(0.975, 2) = 4.30265; deviation of (1, 2, 6) is sqrt(7)
    found = estimate([1.0, 2.0, 6.0])
    np.testing.assert_allclose(found.half_width, 4.302653 * math.sqrt(7 / 3), rtol=1e-6)


def test_values_that_are_not_there_are_counted_and_in_no_mean():
    found = estimate([1.0, None, 3.0, math.nan])
    assert (found.mean, found.runs, found.missing) == (2.0, 2, 2)
    assert math.isnan(estimate([None]).mean) and estimate([]).runs == 0


def test_one_run_has_no_interval_and_equal_runs_one_of_no_width():
    assert math.isnan(estimate([5.0]).low) and estimate([5.0]).mean == 5.0
    assert (estimate([0.5] * 3).low, estimate([0.5] * 3).high) == (0.5, 0.5)


def test_the_bootstrap_interval_covers_as_often_as_it_says():
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(40):
        found = estimate(list(random.normal(7.0, 2.0, 20)), "bootstrap")
        hits += found.low <= 7.0 <= found.high
    assert 33 <= hits <= 40
    assert estimate([1.0, 2.0, 3.5], "bootstrap") == estimate([1.0, 2.0, 3.5], "bootstrap")


def test_a_success_rate_has_wilsons_interval():
    # p = 4/5, z = 1.959964: (p + z^2 / 10 +- z sqrt(p (1 - p) / 5 + z^2 / 100)) / (1 + z^2 / 5)
    z = 1.959964
    middle, half = 0.8 + z**2 / 10, z * math.sqrt(0.8 * 0.2 / 5 + z**2 / 100)
    found = success_rate([0.9, 0.95, 1.0, 0.91, 0.3], 0.9)
    assert (found.successes, found.runs) == (4, 5)
    np.testing.assert_allclose(
        [found.low, found.high], [(middle + s * half) / (1 + z**2 / 5) for s in (-1, 1)], rtol=1e-5
    )
    assert success_rate([0.1, None], 0.2, higher=False).successes == 1


def test_the_first_step_at_a_threshold():
    assert first_reached([10, 20, 30], [0.5, 0.9, 0.95], 0.9) == 20
    assert first_reached([10, 20], [None, 0.8], 0.9) is None
    assert first_reached([10, 20], [2.0, 0.1], 0.3, higher=False) == 20


def test_a_paired_test_is_the_one_worked_by_hand():
    # differences 1, 2, 3, 6: mean 3, deviation sqrt(14 / 3), t = 3 / (sqrt(14 / 3) / 2) = 2.7775, 3 degrees
    one = {0: 5.0, 1: 6.0, 2: 7.0, 3: 10.0, 9: 1.0}
    found = paired(one, dict.fromkeys((0, 1, 2, 3, 8), 4.0))
    assert found.difference.runs == 4 and found.difference.mean == 3.0
    np.testing.assert_allclose(found.t_value, 0.0691, atol=5e-4)
    np.testing.assert_allclose(found.difference.half_width, 3.182446 * math.sqrt(14 / 3) / 2, rtol=1e-6)
    assert math.isnan(found.rank_value)


def test_wilcoxon_needs_six_pairs():
    # All six differences have one sign: p = 2 / 2^6.
    found = paired({n: n + 1.0 for n in range(6)}, dict.fromkeys(range(6), 0.0))
    assert found.rank_value == pytest.approx(2 / 64)


def test_no_difference_is_no_evidence():
    assert paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).t_value == 1.0
    assert math.isnan(paired({0: 1.0}, {1: 1.0}).t_value)


def test_holm_multiplies_the_least_most_and_keeps_the_order():
    found = holm([0.04, 0.01, math.nan, 0.03, 0.9])
    np.testing.assert_allclose(found[:2] + found[3:], [0.09, 0.04, 0.09, 0.9])
    assert math.isnan(found[2])
