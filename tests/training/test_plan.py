import pytest

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
    ],
)
def test_what_a_plan_refuses(wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        Training(**wrong)


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"b2": 1.0}, {"eps": 0.0}, {"end_fraction": 1.5}])
def test_what_an_optimizer_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Optimizer(**wrong)
