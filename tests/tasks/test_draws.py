from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnkit.tasks import draws

pytestmark = pytest.mark.one_python


@settings(deadline=None)
@given(
    count=st.integers(1, 41), size=st.integers(1, 53), seed=st.integers(0, 2**40), epochs=st.integers(1, 3)
)
def test_every_example_comes_exactly_once_in_each_epoch(count, size, seed, epochs):
    steps = -(-count * epochs // size)
    stream = np.concatenate([draws.epoch_rows(count, seed, step, size) for step in range(steps)])
    assert len(stream) == steps * size
    for epoch in range(epochs):
        assert sorted(stream[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))
    rest = Counter(stream[epochs * count :].tolist())
    assert len(stream) - epochs * count >= count or max(rest.values(), default=1) == 1


def test_rows_are_a_pure_function_of_seed_and_step():
    late = draws.epoch_rows(101, seed=7, step=10**9, size=13)
    draws.epoch.cache_clear()
    assert draws.epoch_rows(101, seed=7, step=10**9, size=13).tolist() == late.tolist()


def test_epochs_and_seeds_have_different_orders():
    def order(seed, step):
        return draws.epoch_rows(31, seed, step, 31).tolist()

    assert order(0, 0) != order(0, 1) != order(1, 1) != order(1, 0) != order(0, 0)


def test_the_stored_order_cannot_be_changed_by_a_caller():
    draws.epoch_rows(11, 0, 0, 11)[:] = 0
    assert sorted(draws.epoch_rows(11, 0, 0, 11).tolist()) == list(range(11))
    with pytest.raises(ValueError, match="read-only"):
        draws.epoch(11, 0, 0)[0] = 5


def test_the_stream_is_the_one_of_philox_whatever_the_version_of_numpy():
    assert draws.permutation(7, 3, 5).tolist() == [6, 4, 3, 2, 0, 5, 1]
    assert draws.below(1000, 3, 3, 5).tolist() == [720, 239, 769]


def test_draws_reach_every_value_and_no_other():
    counts = np.bincount(draws.below(5, 10_000, 0), minlength=5)
    assert len(counts) == 5 and counts.min() > 1850 and counts.max() < 2150


@pytest.mark.parametrize(("count", "step", "size"), [(0, 0, 3), (3, -1, 3), (3, 0, 0)])
def test_rows_of_nothing_are_refused(count, step, size):
    with pytest.raises(ValueError, match=f"count = {count}, size = {size}, step = {step}"):
        draws.epoch_rows(count, 0, step, size)
