import jax
import jax.numpy as jnp
import numpy as np

from attnkit.encodings.distance import clipped, entries_of, sums_by_entry
from attnkit.encodings.sinusoids import distance_product, sinusoids


def test_both_ends_of_the_clipped_range_are_included():
    assert clipped(jnp.array([10, 11]), jnp.arange(7, 13), 2, 1).tolist() == [
        [0, 0, 1, 2, 3, 3],
        [0, 0, 0, 1, 2, 3],
    ]


def test_summing_by_entry_is_the_transpose_of_looking_up():
    keys = jax.random.split(jax.random.key(0), 3)
    table, w = jax.random.normal(keys[0], (3, 5)), jax.random.normal(keys[1], (3, 7))
    entry = jax.random.randint(keys[2], (3, 7), 0, 5)
    (pulled,) = jax.vjp(lambda t: entries_of(t, entry), table)[1](w)
    np.testing.assert_allclose(sums_by_entry(w, entry, 5), pulled, rtol=1e-6)


def test_distance_product_is_the_product_with_sinusoids_of_the_distance():
    y, i, j = jax.random.normal(jax.random.key(0), (3, 14)), jnp.array([0, 5, 17]), jnp.arange(11)
    expected = np.array([[y[a] @ sinusoids(i[a] - j[b : b + 1], 14)[0] for b in range(11)] for a in range(3)])
    np.testing.assert_allclose(distance_product(y, i, j), expected, atol=1e-5)
