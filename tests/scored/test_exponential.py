"""Partial results: merging two sets of keys is absorbing their union, and `finish` reads the mean."""

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.scored.exponential import Partial, absorb, finish, merge, no_keys

pytestmark = pytest.mark.one_python

ROWS, WIDTH = 3, 2
values = st.floats(-10, 10)
sets = st.lists(st.tuples(st.floats(-50, 50), st.booleans(), values, values), max_size=4)
LIMITS = hypothesis.settings(max_examples=60, deadline=None)


def partial(keys):
    """The partial result of keys `(score, allowed, two values)`, with higher scores in later rows."""
    empty = jnp.zeros(ROWS)
    if not keys:
        return no_keys(empty, WIDTH)
    s = jnp.array([[key[0] + row for key in keys] for row in range(ROWS)], jnp.float32)
    keep = jnp.array([[key[1] for key in keys]] * ROWS)
    v = jnp.array([key[2:] for key in keys], jnp.float32)
    return absorb(no_keys(empty, WIDTH), s, keep, lambda e: e @ v)


def assert_same(a, b):
    np.testing.assert_array_equal(a.maximum, b.maximum)
    scale = np.maximum(b.total, 1e-30)
    np.testing.assert_allclose(a.total / scale, b.total / scale, rtol=1e-5)
    np.testing.assert_allclose(a.values / scale[:, None], b.values / scale[:, None], atol=1e-4)


@hypothesis.given(sets, sets, sets)
@LIMITS
def test_merging_sets_in_any_order_is_absorbing_their_union(a, b, c):
    whole = partial(a + b + c)
    a, b, c = map(partial, (a, b, c))
    assert_same(merge(a, merge(b, c)), whole)
    assert_same(merge(merge(c, a), b), whole)


@hypothesis.given(sets)
@LIMITS
def test_nothing_is_the_identity(a):
    a, none = partial(a), no_keys(jnp.zeros(ROWS), WIDTH)
    assert_same(merge(a, none), a)
    assert_same(merge(none, a), a)


@hypothesis.given(sets, st.floats(-50, 50))
@LIMITS
def test_finishing_gives_the_weighted_mean_and_the_log_of_the_sum(keys, rest):
    seen = [key for key in keys if key[1]]
    for extra in (None, jnp.float32(rest)):
        output, lse = finish(extra, partial(keys))
        for row in range(ROWS):
            s = np.array([key[0] + row for key in seen] + ([] if extra is None else [float(extra)]))
            if not s.size:
                assert lse[row] == -np.inf and not np.any(output[row])
                continue
            w = np.exp(s - s.max())
            v = np.array([key[2:] for key in seen] + ([] if extra is None else [(0.0, 0.0)]))
            np.testing.assert_allclose(lse[row], s.max() + np.log(w.sum()), rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(output[row], w @ v / w.sum(), rtol=1e-4, atol=1e-4)


numbers = st.lists(st.floats(-30, 30, width=32), min_size=0, max_size=4)


def partial_of_scores(scores):
    """The partial result over keys with these scores, whose values are the scores themselves."""
    s = jnp.asarray(scores, jnp.float32)[None, :]
    return absorb(no_keys(jnp.zeros(1), 1), s, None, lambda e: e @ s.T)


def assert_same_result(a: Partial, b: Partial):
    for left, right in zip(finish(None, a), finish(None, b), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(numbers, numbers, numbers)
def test_partial_results_are_a_commutative_monoid(a, b, c):
    x, y, z = partial_of_scores(a), partial_of_scores(b), partial_of_scores(c)
    assert_same_result(merge(merge(x, y), z), merge(x, merge(y, z)))
    assert_same_result(merge(x, y), merge(y, x))
    assert_same_result(merge(x, no_keys(jnp.zeros(1), 1)), x)
    assert_same_result(merge(merge(x, y), z), partial_of_scores(a + b + c))
