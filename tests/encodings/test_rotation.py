import math

import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.encodings.rotation import frequencies, rotate, slowed_by_parts


def test_a_quarter_turn():
    turned = rotate(jnp.array([[1.0, 2.0, 9.0]]), jnp.array([3]), jnp.array([math.pi / 6]))
    np.testing.assert_allclose(turned, [[-2.0, 1.0, 9.0]], atol=1e-6)


def test_frequencies_fall_from_one_to_almost_one_over_the_base():
    np.testing.assert_allclose(frequencies(4, 100.0), [1.0, 0.1], rtol=1e-6)


def test_an_odd_number_of_features_is_refused():
    with pytest.raises(ValueError, match="dim = 5 must be even"):
        frequencies(5)


def test_a_larger_base_slows_only_the_slowest_pair_by_the_whole_factor():
    factor, dim = 3.0, 8
    before, after = frequencies(dim), frequencies(dim, 10000.0 * factor ** (dim / (dim - 2)))
    np.testing.assert_allclose(before / after, 3.0 ** (np.arange(4) / 3), rtol=1e-5)


def test_slow_pairs_slow_down_and_fast_ones_do_not():
    turn = 2 * math.pi / 100
    made = slowed_by_parts(turn * jnp.array([0.5, 1.0, 2.0, 4.0, 7.0]), 8.0, 100, 1.0, 4.0) / turn
    # Two turns are a third of the way from 1 to 4: 2 / 3 * 1 + 2 * 2 / 3 / 8 = 5 / 6.
    np.testing.assert_allclose(made, [0.0625, 0.125, 5 / 6, 4.0, 7.0], rtol=1e-6)
