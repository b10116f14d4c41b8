"""Statistics over seeds: intervals of means, success rates, and paired tests between variants.

Every number says how many runs it is of. The arithmetic is scipy's.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

Method = Literal["t", "bootstrap"]
CONFIDENCE = 0.95
FEWEST_RANKS = 6


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over runs with its interval.

    Attributes:
        mean: of the finite values.
        low: lower end of the interval of the mean; NaN of a single run.
        high: upper end.
        runs: how many values there are.
        missing: how many runs have none, or one that is not finite; they are in no number here.
    """

    mean: float
    low: float
    high: float
    runs: int
    missing: int = 0

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def estimate(values: Sequence[float | None], method: Method = "t") -> Estimate:
    """The mean of some runs with its 95 % interval.

    `t` is Student's interval, exact for means of normal values. `bootstrap` is the bias-corrected and
    accelerated interval of 9,999 resamples (Efron 1987), which needs about ten runs to be of use.

    >>> found = estimate([1.0, 2.0, 3.0])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (2.0, -0.484, 4.484)
    """
    from scipy import stats

    kept = np.array([value for value in values if value is not None and math.isfinite(value)], float)
    missing = len(values) - len(kept)
    if not len(kept):
        return Estimate(math.nan, math.nan, math.nan, 0, missing)
    mean = float(kept.mean())
    if len(kept) == 1:
        return Estimate(mean, math.nan, math.nan, 1, missing)
    if is_constant(kept):
        return Estimate(mean, mean, mean, len(kept), missing)
    if method == "bootstrap":
        drawn = stats.bootstrap(
            (kept,), np.mean, confidence_level=CONFIDENCE, rng=np.random.default_rng(0)
        ).confidence_interval
    else:
        drawn = stats.ttest_1samp(kept, 0.0).confidence_interval(CONFIDENCE)
    return Estimate(mean, float(drawn.low), float(drawn.high), len(kept), missing)


def is_constant(values: np.ndarray) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


@dataclasses.dataclass(frozen=True)
class Rate:
    """How many of some runs succeeded, and the 95 % interval of the rate (Wilson 1927)."""

    successes: int
    runs: int
    low: float
    high: float


def success_rate(values: Sequence[float | None], threshold: float, higher: bool = True) -> Rate:
    """How many runs reach a threshold; a run without a finite value does not.

    >>> found = success_rate([0.9, 1.0, 0.2, 1.0], 0.9)
    >>> found.successes, found.runs, round(found.low, 3), round(found.high, 3)
    (3, 4, 0.301, 0.954)
    """
    from scipy import stats

    if not values:
        return Rate(0, 0, math.nan, math.nan)
    reached = [reaches(value, threshold, higher) for value in values]
    drawn = stats.binomtest(sum(reached), len(reached)).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(sum(reached), len(reached), float(drawn.low), float(drawn.high))


def reaches(value: float | None, threshold: float, higher: bool = True) -> bool:
    """Whether a value is finite and at least as good as a threshold."""
    finite = value is not None and math.isfinite(value)
    return finite and (value >= threshold if higher else value <= threshold)  # type: ignore[operator]


def first_reached(
    steps: Sequence[float], values: Sequence[float | None], threshold: float, higher: bool = True
) -> float | None:
    """The first step at which a value reaches a threshold; `None` if none does."""
    return next((s for s, v in zip(steps, values, strict=True) if reaches(v, threshold, higher)), None)


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two variants on the same seeds.

    Attributes:
        difference: of the first minus the second.
        t_value: p of Student's paired test, two-sided; NaN with fewer than two pairs.
        rank_value: p of Wilcoxon's signed-rank test, two-sided; NaN with fewer than six pairs, of which no
            difference could be significant at 5 %.
    """

    difference: Estimate
    t_value: float
    rank_value: float


def paired(one: Mapping[Any, float | None], other: Mapping[Any, float | None]) -> Paired:
    """Compare values by seed; seeds that either lacks do not count.

    >>> found = paired({0: 3.0, 1: 4.0, 2: 8.0}, {0: 1.0, 1: 3.0, 2: 5.0})
    >>> found.difference.mean, found.difference.runs, round(found.t_value, 4)
    (2.0, 3, 0.0742)
    """
    from scipy import stats

    seeds = [seed for seed in one if seed in other and _finite(one[seed]) and _finite(other[seed])]
    gaps = np.array([one[seed] for seed in seeds], float) - np.array([other[seed] for seed in seeds], float)
    t_value = rank_value = math.nan
    if len(gaps) >= 2:
        same = is_constant(gaps)
        t_value = float(not gaps.any()) if same else float(stats.ttest_1samp(gaps, 0.0).pvalue)
    if len(gaps) >= FEWEST_RANKS:
        rank_value = float(stats.wilcoxon(gaps).pvalue) if gaps.any() else 1.0
    return Paired(estimate(list(gaps)), t_value, rank_value)


def holm(values: Sequence[float]) -> list[float]:
    """The p values of several tests, corrected for their number (Holm 1979); NaN is no test.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((n for n, value in enumerate(values) if not math.isnan(value)), key=lambda n: values[n])
    found = [math.nan] * len(values)
    least = 0.0
    for rank, n in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * values[n]))
        found[n] = least
    return found


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
