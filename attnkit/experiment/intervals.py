"""95 % intervals of what is measured on decoded examples: Wilson's for shares, else of the bootstrap."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Score = Callable[[Sequence[Any], Sequence[str]], Mapping[str, float]]
Interval = tuple[float, float]

CONFIDENCE = 0.95
#: resamples of a mean over examples, and of a metric that is none
RESAMPLES, SCORINGS = 2000, 50
#: how many examples tell a mean over examples from other metrics
TRIED = 8


def intervals(score: Score, examples: Sequence[Any], predictions: Sequence[str]) -> dict[str, Interval]:
    """The interval of every metric of `score` over the examples, as a sample of all possible ones.

    Shares of examples get Wilson's interval (1927), other means over examples the percentiles of resampled
    means; a mean may be over those examples alone that have the metric, such as those of one length. What is
    no mean over examples (BLEU, F1) gets the value and 1.96 standard errors of resampled scores (Efron and
    Tibshirani 1993, chapter 13). Metrics without a finite value have none.
    """
    count = len(examples)
    if count < 2:
        return {}
    whole, few = score(examples, predictions), score(examples[:TRIED], predictions[:TRIED])
    each = [score([e], [p]) for e, p in zip(examples[:TRIED], predictions[:TRIED], strict=True)]
    means = [name for name in whole if name not in few or agrees(few[name], of_each(name, each))]
    if means:
        rest = zip(examples[TRIED:], predictions[TRIED:], strict=True)
        each += [score([e], [p]) for e, p in rest]
    found = {}
    for name in means:
        values = of_each(name, each)
        if agrees(whole[name], values):
            found[name] = of_mean(values)
    others = [name for name in whole if name not in found and np.isfinite(whole[name])]
    return found | (resampled(score, examples, predictions, whole, others) if others else {})


def of_each(name: str, each: Sequence[Mapping[str, float]]) -> np.ndarray:
    """The metric of every example that has it."""
    return np.array([one[name] for one in each if name in one])


def agrees(value: float, each: np.ndarray) -> bool:
    """Whether a metric is the mean of its values for each example."""
    return bool(len(each) and np.isfinite(value) and np.isclose(value, np.mean(each), atol=1e-9))


def of_mean(values: np.ndarray) -> Interval:
    """The interval of a mean.

    >>> of_mean(np.array([1.0, 0.0, 1.0, 1.0]))  # 3 of 4: Wilson
    (0.3006, 0.9544)
    """
    if np.isin(values, (0.0, 1.0)).all():
        return share(int(values.sum()), len(values))
    counts = np.random.default_rng(0).multinomial(
        len(values), np.full(len(values), 1 / len(values)), RESAMPLES
    )
    low, high = np.quantile(counts @ values / len(values), (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2))
    return round(float(low), 4), round(float(high), 4)


def share(right: int, count: int) -> Interval:
    """Wilson's interval of `right` of `count`."""
    # Imported where used, here and below: it takes as long as a third of the other imports together.
    from scipy import stats

    drawn = stats.binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
    return round(float(drawn.low), 4), round(float(drawn.high), 4)


def resampled(
    score: Score,
    examples: Sequence[Any],
    predictions: Sequence[str],
    whole: Mapping[str, float],
    names: Sequence[str],
) -> dict[str, Interval]:
    """The value and 1.96 standard errors of each metric, from scores of resampled examples."""
    from scipy import stats

    rng, found = np.random.default_rng(0), []
    for _ in range(SCORINGS):
        chosen = rng.integers(len(examples), size=len(examples))
        found.append(score([examples[n] for n in chosen], [predictions[n] for n in chosen]))
    result = {}
    for name in names:
        values = np.array([one.get(name, np.nan) for one in found])
        error = float(stats.norm.ppf(0.5 + CONFIDENCE / 2) * np.nanstd(values, ddof=1))
        if np.isfinite(error):
            result[name] = (round(whole[name] - error, 4), round(whole[name] + error, 4))
    return result
