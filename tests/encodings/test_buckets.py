import importlib.util
from pathlib import Path

import numpy as np
import pytest

from attnkit.encodings.buckets import buckets, signed_buckets


@pytest.fixture(scope="module")
def relative():
    path = Path(__file__).parents[1] / "oracles" / "relative.py"
    spec = importlib.util.spec_from_file_location("relative_oracle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("count", "max_distance"), [(32, 128), (16, 128), (8, 17), (2, 5), (7, 1000), (64, 97)]
)
def test_one_sided_buckets_agree_with_the_authors_function(relative, count, max_distance):
    distance = np.arange(2 * max_distance)
    expected = [relative.t5_bucket(-n, count, max_distance, False) for n in distance]
    np.testing.assert_array_equal(buckets(distance, count, max_distance), expected)


@pytest.mark.parametrize(("count", "max_distance"), [(32, 128), (4, 9)])
def test_two_sided_buckets_agree_with_the_authors_function(relative, count, max_distance):
    distance = np.arange(-2 * max_distance, 2 * max_distance)
    expected = [relative.t5_bucket(n, count, max_distance, True) for n in distance]
    np.testing.assert_array_equal(signed_buckets(distance, count, max_distance), expected)


def test_edges_are_exact_where_a_rounded_logarithm_is_not():
    # log(n / 8) / log(16) * 8 is a whole number at n = 16, 32, 64.
    assert buckets(np.array([15, 16, 31, 32, 63, 64]), 16, 128).tolist() == [9, 10, 11, 12, 13, 14]


def test_a_reach_within_the_exact_buckets_is_refused():
    with pytest.raises(ValueError, match="max_distance = 8 must be greater than 8"):
        buckets(np.array([0]), 16, 8)
