import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.models.contract import Output
from attnkit.training.objective import Sums, cross_entropy, errors, per_weight, sums


def test_hand_worked_numbers():
    logits = jnp.log(jnp.array([[[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]]]))
    found = cross_entropy(logits, jnp.array([[1, 0]]), smoothing=0.3)
    # Probabilities 1/8 2/8 5/8 and 1/2 1/4 1/4.
    np.testing.assert_allclose(found.loss, [[np.log(4), np.log(2)]], rtol=1e-6)
    spread = [(np.log(8) + np.log(4) + np.log(8 / 5)) / 3, (np.log(2) + 2 * np.log(4)) / 3]
    expected = [0.7 * np.log(4) + 0.3 * spread[0], 0.7 * np.log(2) + 0.3 * spread[1]]
    np.testing.assert_allclose(found.objective, [expected], rtol=1e-6)


def test_gradient_is_probability_minus_smoothed_target(random):
    logits = random.normal(size=(2, 3, 7)).astype(np.float32)
    labels = random.integers(0, 7, (2, 3))
    weights = random.uniform(size=(2, 3)).astype(np.float32)
    slope = jax.grad(lambda z: sums(cross_entropy(z, labels, 0.1), weights).objective)(jnp.array(logits))
    wide = logits.astype(np.float64)
    probability = np.exp(wide) / np.exp(wide).sum(-1, keepdims=True)
    target = 0.9 * np.eye(7)[labels] + 0.1 / 7
    np.testing.assert_allclose(slope, weights[..., None] * (probability - target), atol=2e-7)


def test_large_logits_and_low_precision_stay_finite():
    logits = jnp.array([[[1e4, -1e4, 0.0]]], jnp.bfloat16)
    found = cross_entropy(logits, jnp.array([[1]]), smoothing=0.1)
    assert found.loss.dtype == jnp.float32
    np.testing.assert_allclose(found.loss, 2 * float(jnp.bfloat16(1e4)))


def test_sums_of_slices_add_up_to_the_whole(random):
    tokens = cross_entropy(random.normal(size=(6, 5, 7)).astype(np.float32), random.integers(0, 7, (6, 5)))
    weights = (random.uniform(size=(6, 5)) < 0.6).astype(np.float32)
    whole = sums(tokens, weights)
    parts = [sums(jax.tree.map(lambda x: x[i : i + 2], tokens), weights[i : i + 2]) for i in (0, 2, 4)]  # noqa: B023
    np.testing.assert_allclose(whole, np.sum(np.array(parts), axis=0), rtol=1e-6)


def test_shapes_that_would_broadcast_are_refused():
    logits, labels = jnp.zeros((2, 5, 7)), jnp.zeros((2, 5), int)
    tokens = cross_entropy(logits, labels)
    for call in (
        lambda: cross_entropy(logits, labels[:1]),
        lambda: sums(tokens, jnp.ones((1, 5))),
        lambda: errors(Output(logits[..., :1]), {"targets": jnp.ones((2, 1))}),
    ):
        with pytest.raises(AssertionError, match="shape"):
            call()


def test_padding_counts_for_nothing(random):
    logits, labels = random.normal(size=(2, 5, 7)).astype(np.float32), random.integers(0, 7, (2, 5))
    weights = np.ones((2, 5), np.float32)
    weights[:, 3:] = 0
    changed = logits.copy()
    changed[:, 3:] = 1e4
    assert sums(cross_entropy(logits, labels), weights) == sums(cross_entropy(changed, labels), weights)


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0.0), (4.0, 0.25), (0.5, 2.0)])
def test_mean_of_nothing_is_zero(weight, expected):
    assert per_weight(jnp.float32(weight)) == expected
    assert jax.grad(lambda w: per_weight(w) * w)(jnp.float32(weight)) == 0


def test_a_batch_without_weight_contributes_zero():
    found = sums(cross_entropy(jnp.ones((2, 3, 7)), jnp.zeros((2, 3), int), 0.1), jnp.zeros((2, 3)))
    assert found == Sums(0.0, 0.0, 0.0)


def test_numbers_have_squared_errors_and_penalties_count_once_an_example():
    batch = {"targets": np.array([[1.0, 2.0], [0.5, 9.0]]), "weights": np.array([[1.0, 1.0], [1.0, 0.0]])}
    output = Output(np.array([[[3.0], [2.0]], [[0.0], [0.0]]]), np.array([10.0, 20.0]))
    found = sums(errors(output, batch), batch["weights"])
    assert float(found.loss) == 4 + 0 + 0.25
    # Two places of the first example, one of the second.
    assert float(found.objective) == 4.25 + 2 * 10 + 20


def test_z_loss_is_the_squared_log_of_the_denominator():
    logits = jnp.log(jnp.array([[[1.0, 2.0, 5.0]]]))
    found = cross_entropy(logits, jnp.array([[2]]), z_loss=0.5)
    np.testing.assert_allclose(found.loss, np.log(8 / 5), rtol=1e-6)
    np.testing.assert_allclose(found.objective, np.log(8 / 5) + 0.5 * np.log(8) ** 2, rtol=1e-6)
