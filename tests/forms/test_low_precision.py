"""Normalizers that need whole rows, in low precision, against the definition of the same precision."""

import jax.numpy as jnp
import pytest

from attnkit.conformance.precision import low
from attnkit.conformance.programs import Bench
from attnkit.conformance.subject import make_subject
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.scored.normalizer.hard import Hard
from attnkit.scored.normalizer.relu import Relu
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.normalizer.top_k import TopK

ALL = {
    "entmax": Entmax(),
    "entmax, learned": Entmax(learned=True),
    "sparsemax": Sparsemax(),
    "top_k": TopK(k=4),
    "hard": Hard(),
    "stick_breaking": StickBreaking(),
    "sigmoid": Sigmoid(),
    "relu": Relu(),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("normalizer", ALL.values(), ids=ALL)
def test_results_and_gradients_at_small_and_large_scores(normalizer, dtype):
    bench = Bench(make_subject(normalizer), brief=False)
    for size in (1.0, 100.0):  # the latter makes scores of about 10,000
        for found in low(bench, dtype, ("dense", "blockwise"), "gradient", size):
            assert found.holds, found
