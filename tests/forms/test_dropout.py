"""Dropout by counters: the rate, and independence of rows, columns, heads and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.forms.heads import head_seeds
from attnkit.scored.block import survives
from attnkit.scored.preset.attention import Attention

HEADS, SIDE = 7, 211


@pytest.fixture(scope="module")
def signs():
    """Survivors at rate 0.3, shifted and scaled to mean 0 and variance 1: `[heads, rows, columns]`."""
    table = np.stack(
        [
            survives(seed, 0.3, jnp.arange(SIDE), jnp.arange(SIDE))
            for seed in head_seeds(jax.random.key(5), HEADS)
        ]
    )
    return (table - 0.7) / 0.21**0.5


def test_the_rate_is_kept_overall_and_in_every_row_and_column(signs):
    assert abs(signs.mean()) < 6 / signs.size**0.5
    for axis in (1, 2):
        assert np.abs(signs.mean(axis=axis)).max() < 6 / SIDE**0.5


def test_rows_columns_heads_and_diagonals_are_independent(signs):
    upper = np.triu_indices(SIDE, 1)
    pairs = {
        "next row": (signs[:, 1:], signs[:, :-1]),
        "next column": (signs[:, :, 1:], signs[:, :, :-1]),
        "next head": (signs[1:], signs[:-1]),
        "diagonal": (signs[:, 1:, 1:], signs[:, :-1, :-1]),
        "transposed": (signs[:, upper[0], upper[1]], signs[:, upper[1], upper[0]]),
        "row of half the number": (signs[:, 2::2], signs[:, 1 : (SIDE + 1) // 2]),
    }
    for name, (a, b) in pairs.items():
        assert abs((a * b).mean()) < 6 / a.size**0.5, name


def test_rectangles_are_independent(signs):
    """A hash that joined rows and columns by exclusive or alone would show here."""
    corners = signs[:, :-1, :-1] * signs[:, 1:, 1:] * signs[:, :-1, 1:] * signs[:, 1:, :-1]
    assert abs(corners.mean()) < 6 / corners.size**0.5


def test_keys_and_heads_drop_different_entries():
    a, b = head_seeds(jax.random.key(0), 2), head_seeds(jax.random.key(1), 2)
    tables = [np.asarray(survives(s, 0.5, jnp.arange(53), jnp.arange(53))) for s in (*a, *b)]
    for n, one in enumerate(tables):
        for other in tables[:n]:
            assert 0.4 < (one == other).mean() < 0.6


def test_an_entry_does_not_depend_on_the_block_that_computes_it():
    seed = head_seeds(jax.random.key(2), 1)[0]
    whole = np.asarray(survives(seed, 0.4, jnp.arange(31), jnp.arange(37)))
    part = np.asarray(survives(seed, 0.4, jnp.arange(11, 31), jnp.arange(5, 17)))
    np.testing.assert_array_equal(part, whole[11:, 5:17])


@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.999])
def test_extreme_rates(rate):
    seed = head_seeds(jax.random.key(3), 1)[0]
    share = np.asarray(survives(seed, rate, jnp.arange(500), jnp.arange(500))).mean()
    assert abs(share - (1 - rate)) < 6 * (rate * (1 - rate)) ** 0.5 / 500 + 1e-7


def arrays(tokens, seed=0):
    random = np.random.default_rng(seed)
    sizes = ((6, tokens, 4), (2, tokens, 4), (2, tokens, 5))
    return tuple(jnp.asarray(random.normal(size=size), jnp.float32) for size in sizes)


def test_dropout_drops_the_same_weights_whatever_the_blocks():
    q, k, v = arrays(19)
    scored = Attention(dropout=0.4).scored()
    outputs = [
        forms.attend(scored, None, q, k, v, key=jax.random.key(3), **how).output
        for how in ({"implementation": "reference"}, {"block": (19, 19)}, {"block": (4, 6)})
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=3e-6)
    np.testing.assert_allclose(outputs[0], outputs[2], rtol=0, atol=3e-6)
    assert np.abs(outputs[0] - forms.attend(scored, None, q, k, v).output).max() > 0.1


def test_dropout_keeps_the_stated_share_and_rows_are_independent():
    seed = jnp.array([17, 23], jnp.uint32)
    kept = np.asarray(survives(seed, 0.3, jnp.arange(997), jnp.arange(1009))).astype(float)
    error = np.sqrt(0.3 * 0.7 / kept.size)
    assert abs(kept.mean() - 0.7) < 4 * error
    together = (kept[:-1] * kept[1:]).mean() - 0.49
    assert abs(together) < 4 * np.sqrt(0.49 * 0.51 / kept.size)
    sideways = (kept[:, :-1] * kept[:, 1:]).mean() - 0.49
    assert abs(sideways) < 4 * np.sqrt(0.49 * 0.51 / kept.size)
