import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnkit.training.optimizer import schedule, transform
from attnkit.training.plan import Optimizer


@pytest.mark.parametrize(
    ("step", "factor"),
    # Warmup of 4 in thirds of nothing: 1/4, 2/4, 3/4, 1; then a cosine over steps 4..10 down to 0.2.
    [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (7, 0.6), (10, 0.2), (500, 0.2)],
)
def test_schedule(step, factor):
    plan = Optimizer(warmup=4, end_fraction=0.2)
    np.testing.assert_allclose(schedule(plan, 11, jnp.int32(step)), factor, rtol=1e-6)


def test_schedule_without_warmup_starts_at_the_top_and_warmup_may_outlast_the_run():
    assert schedule(Optimizer(warmup=0), 7, jnp.int32(0)) == 1.0
    np.testing.assert_allclose(schedule(Optimizer(warmup=100), 7, jnp.int32(6)), 0.07, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "factor"),
    # 21 steps, the last is number 20: the rate falls from step 16 on, in quarters of 0.8.
    [(0, 0.5), (1, 1.0), (2, 1.0), (16, 1.0), (17, 0.8), (18, 0.6), (19, 0.4), (20, 0.2), (500, 0.2)],
)
def test_warmup_stable_decay(step, factor):
    plan = Optimizer(schedule="wsd", warmup=2, cooldown=0.2, end_fraction=0.2)
    np.testing.assert_allclose(schedule(plan, 21, jnp.int32(step)), factor, rtol=1e-6)


def test_muon_makes_weights_orthogonal_and_leaves_the_rest_to_adam():
    """The direction of a diagonal matrix is the polynomial of its entries divided by their norm."""
    plan = Optimizer(rule="muon", weight_decay=0.0, clip=0.0)
    kinds = {"maps": "weight", "table": "table"}
    params = {"maps": jnp.zeros((2, 3, 2)), "table": jnp.zeros((3, 2))}
    maps = np.zeros((2, 3, 2))
    maps[0, :2] = np.diag([3.0, -4.0])
    maps[1, :2] = np.diag([5.0, 12.0])
    slope = {"maps": jnp.asarray(maps), "table": jnp.full((3, 2), 7.0)}
    rule = transform(plan, kinds)
    direction, _ = rule.update(slope, rule.init(params), params)
    x = np.array([[3 / 5, -4 / 5], [5 / 13, 12 / 13]])
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    found = np.asarray(direction["maps"])
    np.testing.assert_allclose(found[:, [0, 1], [0, 1]], 0.2 * 3**0.5 * x, rtol=1e-5)
    assert np.abs(found[:, 2]).max() < 1e-6
    np.testing.assert_allclose(direction["table"], 1.0, rtol=1e-6)


def test_two_steps_of_adamw_by_hand():
    plan = Optimizer(b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.5, clip=0.0)
    params = {"matrix": jnp.full((1, 1), 2.0), "vector": jnp.full(1, 2.0)}
    rule = transform(plan, {"matrix": "weight", "vector": "bias"})
    state = rule.init(params)
    m = v = 0.0
    for t, g in enumerate([3.0, -1.0], 1):
        direction, state = rule.update(
            {"matrix": jnp.full((1, 1), g), "vector": jnp.full(1, g)}, state, params
        )
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        adam = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        np.testing.assert_allclose(direction["vector"], adam, rtol=2e-6)
        np.testing.assert_allclose(direction["matrix"], adam + 0.5 * 2.0, rtol=2e-6)


def test_clipping_bounds_what_adam_sees():
    rule = transform(Optimizer(clip=1.0, b1=0.0, b2=0.0, weight_decay=0.0, eps=1.0), {"a": "weight"})
    params = {"a": jnp.zeros(2)}
    direction, _ = rule.update({"a": jnp.array([30.0, 40.0])}, rule.init(params), params)
    # Clipped to 0.6, 0.8; with both betas 0 the direction is g / (|g| + 1).
    np.testing.assert_allclose(direction["a"], [0.6 / 1.6, 0.8 / 1.8], rtol=1e-6)
    assert isinstance(rule, optax.GradientTransformation)
