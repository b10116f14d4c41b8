import pytest

from attnkit.generation.plan import Decoding
from attnkit.training.plan import Optimizer, Training


def test_a_plan_is_hashable_and_equal_by_value():
    assert Training(steps=7) == Training(steps=7)
    assert hash(Training(steps=7)) == hash(Training(steps=7))
    assert Optimizer(warmup=3) != Optimizer(warmup=5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"label_smoothing": 1.0},
        {"precision": "float16"},
        {"nonfinite": "ignore"},
        {"keep": 0},
        {"batch_size": 6, "accumulate": 4},
        {"steps": 2**32},
        {"steps": 2**70},
        {"label_smoothing": float("nan")},
        {"z_loss": float("inf")},
    ],
)
def test_what_a_plan_refuses(wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        Training(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"b2": 1.0},
        {"eps": 0.0},
        {"end_fraction": 1.5},
        {"eps": 1e-60},
        {"learning_rate": 1e39},
        {"multipliers": (("bias", -1.0),)},
        {"cooldown": 0.0},
    ],
)
def test_what_an_optimizer_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Optimizer(**wrong)


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), 1e-40, 0.0, -1.0])
def test_temperatures_that_cannot_be_computed_with_are_refused(wrong):
    with pytest.raises(ValueError, match="temperature"):
        Decoding(method="sample", temperature=wrong)
