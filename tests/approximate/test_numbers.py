"""Answers worked by hand, and budgets with which an approximation is exact."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from approximate.cases import FORMS, IDS, arrays_of, variant_of

from attnkit.approximate.contract import softmax
from attnkit.approximate.pinv import pinv
from attnkit.conformance import check

pytestmark = pytest.mark.one_python


def column(*numbers):
    return jnp.array(numbers, jnp.float32)[:, None]


def weights(name, options, p, q, k, **more):
    return np.asarray(jax.jit(variant_of(name, options).matrix)(p, q, k, **more))


def test_linformer_mixes_before_it_compares():
    # Keys 0 and ln 3 summed are one row of weight 1; values are mixed by (2, 5)
    p = {"key": jnp.array([[1.0, 1.0]]), "value": jnp.array([[2.0, 5.0]])}
    got = weights("linformer", {"rank": 1, "length": 2}, p, column(1), column(0, math.log(3)))
    np.testing.assert_allclose(got, [[2, 5]])


def test_a_transform_of_two_by_two():
    got = variant_of("fnet", {}).output(
        {}, jnp.zeros((2, 0)), jnp.zeros((2, 0)), jnp.array([[1.0, 2], [3, 4]])
    )
    np.testing.assert_allclose(got, [[10, -2], [-4, 0]], atol=1e-6)


def test_synthesized_weights():
    p = {"scores": jnp.array([[0, math.log(3)], [0, 0]])}
    none = jnp.zeros((2, 0))
    got = weights("synthesizer_random", {"length": 2}, p, none, none)
    np.testing.assert_allclose(got, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)
    got = weights("synthesizer_random", {"length": 2, "causal": True}, p, none, none)
    np.testing.assert_allclose(got, [[1, 0], [0.5, 0.5]], rtol=1e-6)


def test_aft_is_a_gated_mean():
    got = variant_of("aft_simple", {}).output({}, column(0, 0), column(0, math.log(3)), column(2, 6))
    np.testing.assert_allclose(got, column(2.5, 2.5), rtol=1e-6)  # half of (1 * 2 + 3 * 6) / 4


def test_aft_full_without_biases_is_aft_simple():
    full, simple = variant_of("aft_full", {"rank": 1, "length": 7}), variant_of("aft_simple", {})
    q, k, v = map(jnp.asarray, arrays_of(simple, 7, 3, 3)[1:])
    p = {"row": jnp.zeros((7, 1)), "column": jnp.ones((7, 1))}
    np.testing.assert_allclose(full.output(p, q, k, v), simple.output({}, q, k, v), rtol=1e-6)


def test_two_equal_landmarks_share_the_ridge():
    # C is all ones: (1 1) ((1 1; 1 1) + I)^-1 (1 1)^T = 2/3
    p = {"place": jnp.zeros(2)}
    options = {"landmarks": 2, "ridge": 1.0, "iterations": 20}
    got = weights("skyformer", options, p, jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    np.testing.assert_allclose(got, [[2 / 3]], rtol=1e-5)


def test_far_tokens_are_met_as_means():
    # Blocks of 2 of 8 tokens: token 0 meets tokens 4..7 only as the means of (4, 5) and of (6, 7)
    k = column(0, 0, 0, 0, 1, 3, 2, 4)
    got = weights("h_transformer_1d", {"block": 2}, {}, column(1, 1, 1, 1, 1, 1, 1, 1), k)
    e = np.exp([0, 0, 0, 0, 2, 2, 3, 3])
    np.testing.assert_allclose(got[0], e / e.sum(), rtol=1e-6)
    np.testing.assert_allclose(got[4, 2:], got[4, 4] * np.exp(k[2:, 0] - 1), rtol=1e-5)


def test_a_sinkformer_shares_every_token_out():
    # Softmax of (0, 0; 0, ln 3): (1/2, 1/2; 1/4, 3/4)
    # Its columns over their sums: (2/3, 2/5; 1/3, 3/5), and the rows of that: (5/8, 3/8; 5/14, 9/14)
    q, k = column(0, 1), column(0, math.log(3))
    np.testing.assert_allclose(
        weights("sinkformer", {"steps": 1}, {}, q, k), [[1 / 2, 1 / 2], [1 / 4, 3 / 4]]
    )
    got = weights("sinkformer", {"steps": 3}, {}, q, k)
    np.testing.assert_allclose(got, [[5 / 8, 3 / 8], [5 / 14, 9 / 14]], rtol=1e-6)
    np.testing.assert_allclose(weights("sinkformer", {"steps": 99}, {}, q, k).sum(axis=0), [1, 1], rtol=1e-6)


def test_sinkhorn_attention_to_the_own_block_and_to_the_one_that_is_sorted_in():
    # Blocks of 1, keys 0 and 1: R = (0, 0; 0, ln 3), balanced once P = (2/3, 2/5; 1/3, 3/5); queries of 0
    # look at both keys alike: half of the own value, and half of the mixture.
    p = {"sort": jnp.array([[0.0, math.log(3)]]), "bias": jnp.zeros(2)}
    options = {"block": 1, "length": 2, "steps": 1, "temperature": 1.0}
    got = weights("sinkhorn", options, p, column(0, 0), column(0, 1))
    np.testing.assert_allclose(got, [[1 / 2 + 1 / 3, 1 / 5], [1 / 6, 1 / 2 + 3 / 10]], rtol=1e-6)


EXACT = [
    ("nystromformer", {"landmarks": 16, "iterations": 30, "convolution": 0}, 1e-9),
    ("h_transformer_1d", {"block": 6}, 1e-13),
    ("h_transformer_1d", {"block": 16}, 1e-13),
    ("sinkhorn", {"block": 16}, 1e-13),
    ("sinkformer", {"steps": 1}, 1e-13),
]


@pytest.mark.parametrize(("name", "options", "bound"), EXACT)
def test_with_enough_of_its_budget_it_is_softmax_attention(name, options, bound):
    variant = variant_of(name, options)
    with jax.enable_x64(True):
        p, *arrays = arrays_of(variant, 11, 3, 5)
        q, k, v = map(jnp.asarray, arrays)
        true = softmax(q @ k.T / math.sqrt(3), jnp.ones((11, 11), bool)) @ v
        np.testing.assert_allclose(jax.jit(variant.output)(p, q, k, v), true, rtol=0, atol=bound)


def test_six_iterations_for_the_inverse_are_as_exact_as_the_matrix_is_well_behaved():
    variant = variant_of("nystromformer", {"landmarks": 11, "convolution": 0})
    with jax.enable_x64(True):
        p, *arrays = arrays_of(variant, 11, 3, 5)
        q, k, v = map(jnp.asarray, arrays)
        true = softmax(q @ k.T / math.sqrt(3), jnp.ones((11, 11), bool)) @ v
        error = float(jnp.abs(jax.jit(variant.output)(p, q, k, v) - true).max())
    assert 1e-9 < error < 0.5, error


def test_linformer_of_full_rank_without_mixing_is_softmax_attention():
    variant = variant_of("linformer", {"rank": 11, "length": 11})
    with jax.enable_x64(True):
        q, k, v = map(jnp.asarray, arrays_of(variant, 11, 3, 5)[1:])
        true = softmax(q @ k.T / math.sqrt(3), jnp.ones((11, 11), bool)) @ v
        got = variant.output({"key": jnp.eye(11), "value": jnp.eye(11)}, q, k, v)
        np.testing.assert_allclose(got, true, rtol=0, atol=1e-13)


def test_skyformer_with_every_token_a_landmark_is_kernelized_attention():
    variant = variant_of("skyformer", {"landmarks": 14, "iterations": 60, "ridge": 1e-12})
    with jax.enable_x64(True):
        q, k = map(jnp.asarray, arrays_of(variant, 7, 3, 5)[1:3])
        p = {"place": np.tile((np.arange(7) + 0.5) / 7, 2)}
        np.testing.assert_allclose(jax.jit(variant.matrix)(p, q, k), variant.exact(p, q, k), atol=1e-7)


def test_the_pseudo_inverse_of_a_singular_matrix():
    with jax.enable_x64(True):
        a = np.array([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]])
        np.testing.assert_allclose(pinv(jnp.asarray(a), 9), np.linalg.pinv(a), atol=1e-9)


def test_a_variant_passes_its_conformance_and_a_broken_one_fails(monkeypatch):
    variant = variant_of("aft_simple", {"causal": True})
    both = frozenset({"causality", "output"})
    assert check(variant, only=both).ok

    def leaking(self, p, q, k, v, i, length):
        return jnp.cumsum(v, axis=0) + 1e-9 * jnp.sum(v, axis=0)

    monkeypatch.setattr(type(variant), "mix", leaking)
    assert check(variant, only=both).failed() == both


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "told"), FORMS, ids=IDS)
def test_every_variant_passes_its_conformance(name, options, told):
    matrix = check(variant_of(name, options | ({"length": 71} if "length" in options else {})))
    assert matrix.ok, f"\n{matrix}"
