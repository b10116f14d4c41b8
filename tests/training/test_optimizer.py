import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnkit.training.optimizer import decayed, schedule, transform
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


def test_matrices_decay_and_vectors_do_not():
    params = {
        "table": np.ones((3, 5)),
        "bias": np.ones(5),
        "scale": np.float32(1),
        "cube": np.ones((2, 3, 5)),
    }
    assert decayed(params) == {"table": True, "bias": False, "scale": False, "cube": True}


def test_two_steps_of_adamw_by_hand():
    plan = Optimizer(b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.5, clip=0.0)
    params = {"matrix": jnp.full((1, 1), 2.0), "vector": jnp.full(1, 2.0)}
    rule = transform(plan)
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
    rule = transform(Optimizer(clip=1.0, b1=0.0, b2=0.0, weight_decay=0.0, eps=1.0))
    params = {"a": jnp.zeros(2)}
    direction, _ = rule.update({"a": jnp.array([30.0, 40.0])}, rule.init(params), params)
    # Clipped to 0.6, 0.8; with both betas 0 the direction is g / (|g| + 1).
    np.testing.assert_allclose(direction["a"], [0.6 / 1.6, 0.8 / 1.8], rtol=1e-6)
    assert isinstance(rule, optax.GradientTransformation)
