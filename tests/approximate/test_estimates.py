"""Random features estimate what the papers prove they do, with the variance they prove."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.approximate.contract import per_head
from attnkit.approximate.kernel import kernel_values
from attnkit.approximate.random_directions import directions
from attnkit.approximate.variant.aft_simple import AftSimple
from attnkit.approximate.variant.cosformer import Cosformer
from attnkit.approximate.variant.fnet import Fnet
from attnkit.approximate.variant.performer import Performer
from attnkit.approximate.variant.random_feature import RandomFeature
from attnkit.conformance.approximation import Inputs, error, slope
from attnkit.variant import HeadShape

DIM, DRAWS, FEATURES = 4, 20000, 4
SIGMAS = 5


@functools.cache
def draws(variant):
    """Estimates of the kernel, `[draws, queries, keys]`, and the queries and keys."""
    random = np.random.default_rng(3)
    with jax.enable_x64(True):
        q, k = (0.4 * jnp.asarray(random.normal(size=(n, DIM))) for n in (3, 2))

        def one(key):
            return kernel_values(
                variant, {**per_head(variant.constants(key, HeadShape(1, DIM, DIM))), **more}, q, k
            )

        more = {"sigma": jnp.ones(DIM)} if isinstance(variant, RandomFeature) else {}
        found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), DRAWS))
    return np.asarray(found), np.asarray(q), np.asarray(k)


def scaled(x):
    return x / DIM**0.25


def within(got, spread, true):
    """The mean of `got` is `true` up to five standard errors, and not for lack of draws."""
    bound = SIGMAS * spread / math.sqrt(DRAWS)
    assert np.all(np.abs(got - true) < bound), (got - true) / bound
    assert np.all(bound < 0.1 * np.abs(true))


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("kind", ["positive", "hyperbolic", "trigonometric"])
def test_performer_features_are_unbiased(kind, orthogonal):
    found, q, k = draws(Performer(features=FEATURES, kind=kind, orthogonal=orthogonal))
    within(found.mean(axis=0), found.std(axis=0), np.exp(scaled(q) @ scaled(k).T))


def test_rfa_features_are_unbiased():
    found, q, k = draws(RandomFeature(features=FEATURES))
    x, y = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (q, k))
    within(found.mean(axis=0), found.std(axis=0), np.exp(x @ y.T - 1))


def proven(q, k, kind):
    """The mean squared error of independent features: Choromanski et al. 2021, lemma 2, and its appendix."""
    x, y = scaled(q)[:, None], scaled(k)[None]
    plus, minus = np.sum((x + y) ** 2, axis=-1), np.sum((x - y) ** 2, axis=-1)
    kernel = np.exp(np.sum(x * y, axis=-1))
    positive = np.exp(plus) * kernel**2 * (1 - np.exp(-plus)) / FEATURES
    return {
        "positive": positive,
        "hyperbolic": positive * (1 - np.exp(-plus)) / 2,
        "trigonometric": np.exp(plus) / kernel**2 * (1 - np.exp(-minus)) ** 2 / (2 * FEATURES),
    }[kind]


@pytest.mark.parametrize("kind", ["positive", "hyperbolic", "trigonometric"])
def test_independent_features_have_the_proven_variance(kind):
    found, q, k = draws(Performer(features=FEATURES, kind=kind, orthogonal=False))
    square = (found - np.exp(scaled(q) @ scaled(k).T)) ** 2
    standard = square.std(axis=0) / math.sqrt(DRAWS)
    assert np.all(np.abs(square.mean(axis=0) - proven(q, k, kind)) < SIGMAS * standard)


def test_orthogonal_features_are_better_by_what_is_proven():
    # Theorem 2: MSE(orthogonal) <= MSE(independent) - 2 (m - 1) / (m (d + 2)) (SM - exp(-(x^2 + y^2) / 2))^2
    found, q, k = draws(Performer(features=FEATURES))
    x, y = scaled(q)[:, None], scaled(k)[None]
    kernel = np.exp(np.sum(x * y, axis=-1))
    gain = 2 * (FEATURES - 1) / (FEATURES * (DIM + 2))
    gain = gain * (kernel - np.exp(-(np.sum(x**2, -1) + np.sum(y**2, -1)) / 2)) ** 2
    square = (found - kernel) ** 2
    standard = square.std(axis=0) / math.sqrt(DRAWS)
    independent = proven(q, k, "positive")
    assert np.all(square.mean(axis=0) < independent - gain + SIGMAS * standard)
    assert np.sum(square.mean(axis=0) < independent - 3 * standard) >= 3


LAWS = [
    pytest.param(Performer(), 0.4, (-0.6, -0.4), id="positive"),
    pytest.param(Performer(kind="trigonometric"), 0.4, (-0.6, -0.4), id="waves", marks=pytest.mark.slow),
    pytest.param(RandomFeature(), 1.0, (-0.65, -0.45), id="rfa", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("variant", "scale", "bounds"), LAWS)
def test_the_error_falls_as_the_square_root_of_the_features(variant, scale, bounds):
    rows = error(variant, (32, 128, 512), range(4), Inputs(tokens=31, dim=8, scale=scale))
    assert bounds[0] < slope(rows, "target") < bounds[1], rows
    assert rows[-1].target[0] < 0.15


def test_with_large_queries_and_keys_positive_features_are_of_no_use():
    # Their variance grows with exp(|q + k|^2 / sqrt(dim)): at unit variance in 32 dimensions about 6e4.
    rows = error(Performer(), (256,), range(4), Inputs(tokens=64, dim=32))
    assert rows[0].matrix[0] > 0.8


@pytest.mark.parametrize(
    ("variant", "budgets", "message"),
    [
        (Fnet(), (), "Fnet has no error against softmax attention: it mixes"),
        (AftSimple(), (), "its weights are not those of queries and keys"),
        (Cosformer(), (4,), "Cosformer has no option that buys accuracy"),
    ],
)
def test_what_cannot_be_compared_is_refused(variant, budgets, message):
    with pytest.raises(ValueError, match=message):
        error(variant, budgets)


def test_directions_are_orthogonal_within_a_block_and_normal_in_length():
    w = np.asarray(directions(jax.random.key(0), 4000, 4, True))
    blocks = w.reshape(-1, 4, 4) / np.linalg.norm(w, axis=1).reshape(-1, 4, 1)
    np.testing.assert_allclose(blocks @ blocks.transpose(0, 2, 1), np.eye(4)[None].repeat(1000, 0), atol=1e-5)
    np.testing.assert_allclose(w.mean(axis=0), 0, atol=5 / math.sqrt(4000))
    np.testing.assert_allclose(w.T @ w / 4000, np.eye(4), atol=5 * math.sqrt(2 / 4000))
    assert abs(np.mean(np.sum(w**2, 1) ** 2) - 4 * 6) < 5 * math.sqrt(np.var(np.sum(w**2, 1) ** 2) / 4000)
