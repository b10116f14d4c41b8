"""How far two results are apart: overall and row by row."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

FLOOR = 1e-2
ZERO = 1e-14
LOW_FLOOR = 1e-3


def named(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Leaves of a tree, by dotted path, as float64 or wider."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="."), np.asarray(leaf).astype(np.float64)


def together(trees: Sequence[Any]) -> dict[str, np.ndarray]:
    """The arrays of trees alike, by path, stacked: those that are judged together."""
    flat = [dict(named(tree)) for tree in trees]
    return {path: np.stack([one[path] for one in flat]) for path in flat[0]}


def as_rows(a: np.ndarray) -> np.ndarray:
    """An array as a matrix whose rows are judged one by one; a vector's entries are rows."""
    return a.reshape(-1, a.shape[-1]) if a.ndim > 2 else a.reshape(-1, 1)


def row_errors(got: np.ndarray, true: np.ndarray, floor: float = FLOOR) -> tuple[np.ndarray, np.ndarray]:
    """Largest error and size of each row, `[rows]`. No row counts as smaller than `floor` times the largest.

    Entries that are not finite must be the same in both; where they are not, the error is infinite.
    """
    got, true = as_rows(got), as_rows(true)
    if not true.size:
        return np.zeros(0), np.ones(0)
    fine = np.isfinite(true)
    same = np.where(fine, np.isfinite(got), (got == true) | (np.isnan(got) & np.isnan(true)))
    with np.errstate(invalid="ignore"):
        error = np.where(fine & same, np.abs(got - true), np.where(same, 0, np.inf)).max(axis=1)
    size = np.where(fine, np.abs(true), 0).max(axis=1)
    return error, np.maximum(size, floor * size.max())


def distance(got: np.ndarray, true: np.ndarray) -> float:
    """The largest error of any row, relative to the size of the row.

    Absolute where everything is zero, or below `ZERO`: inputs are of unit size, so that is rounding in
    float64 of what is exactly zero.
    """
    if got.shape != true.shape:
        return float("inf")
    error, size = row_errors(got, true)
    return float(np.max(error / (size if size.max(initial=0) > ZERO else 1), initial=0))


def distances(got: Any, true: Any) -> dict[str, float]:
    """The distance of every array of two trees."""
    right = dict(named(true))
    return {name: distance(value, right[name]) for name, value in named(got)}


def ulp(size: np.ndarray, dtype: Any) -> np.ndarray:
    """The spacing of `dtype` at each size."""
    info = jax.numpy.finfo(dtype)
    return np.exp2(np.floor(np.log2(np.maximum(size, float(info.tiny))))) * float(info.eps)


def excess(
    got: np.ndarray, rival: np.ndarray, true: np.ndarray, dtype: Any, rounding: np.ndarray | None = None
) -> float:
    """The error of a low-precision result as a share of its budget; at most 1 is within it.

    The budget is twice the error of an independent result of the same precision (`rival`) plus one unit of
    rounding: of the largest entries overall, and, measured in units of each row so that no hard row hides
    behind a large one, of the worst row. No row counts as smaller than `LOW_FLOOR` times the largest.

    A unit of rounding is one spacing of `dtype` at the row's size, and for derivatives the row's `rounding`
    besides (`programs.conditioned`): the change of the exact derivative by one rounding of what a form that
    sees the keys one block after the other keeps of a row, and the rival does not.

    In `ds_j = w_j (dp_j - D)` with `D = sum_l w_l dp_l` the rival makes `D` of the very `dp_j` it is
    subtracted from, so that their rounding cancels; such a form takes `D = do . o`. An error `e` of `D` adds
    `-e w_j` to `ds_j`, which is what a cotangent of the log-sum-exp smaller by `e` does, so that it costs
    `e |d lse / dx|`: large beside a gradient in which the terms of a row cancel, nothing elsewhere. Without
    it, of scaled dot product, a gradient of the queries in float32 whose error is 0.3 of a rounding of `D`
    counts as 5.5 budgets. In bfloat16 weights are rounded before they meet the values, and `o` with them:
    of `Trilinear`, whose gradient by the vector of queries is `sum_i q_i sum_j ds_ij`, the rival's sums
    cancel to 3e-6 where one rounding of the weights costs 0.015, 700 to 5,000 budgets without it, and 0.5
    if the output is made of weights that were not rounded.

    Kernels in bfloat16 multiply derivatives of scores by queries and keys in that type, as other kernels of
    attention do: one rounding of every `ds_ij` counts, too (`kernels.changed_products`).

    In forward mode `w = exp(s - lse)` has the error of `lse`, and `d o = M - d lse o` those of its terms.
    """
    (error, size), (other, _) = row_errors(got, true, LOW_FLOOR), row_errors(rival, true, LOW_FLOOR)
    if not error.size or not size.max():
        return float(error.max(initial=0))
    unit = ulp(size, dtype) + (0 if rounding is None else as_rows(np.abs(rounding)).max(axis=1))
    overall = error.max() / (2 * other.max() + unit.max())
    rows = (error / unit).max() / (2 * (other / unit).max() + 1)
    worst = max(overall, rows)
    return float("inf") if np.isnan(worst) else float(worst)


def different_bits(got: np.ndarray, true: np.ndarray) -> float:
    """How far apart two arrays are that must be the same to the bit: 0, or the largest difference."""
    if got.shape != true.shape:
        return float("inf")
    if np.array_equal(got, true, equal_nan=True):
        return 0.0
    with np.errstate(invalid="ignore"):
        gap = np.abs(got - true)
    return float(np.max(np.where(np.isfinite(gap), gap, np.inf)))
