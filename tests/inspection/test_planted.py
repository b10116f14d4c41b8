"""Networks with known circuits: every method finds exactly what was planted."""

import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.experiment.inspect_planted import found
from attnkit.inspection.interventions import ablate, patch
from attnkit.inspection.planted import CIRCUITS, head, plant

CHEAP = {("duplicate token", "linear")}
CASES = [
    pytest.param(name, mixer, marks=() if (name, mixer) in CHEAP else pytest.mark.slow)
    for name in CIRCUITS
    for mixer in ("softmax", "linear")
]


@pytest.mark.parametrize(("name", "mixer"), CASES)
def test_heads_kinds_and_edges_are_exactly_those_planted(name, mixer):
    result = found(plant(name, mixer, examples=8))
    assert result["found"], result


def test_the_induction_circuit_is_found_by_ablation_and_patching():
    planted = plant("induction", "linear", examples=8)
    f, metric, tokens = planted.model(), planted.metric(), jnp.asarray(planted.tokens)
    assert float(metric(f(tokens)).mean()) == 1
    lost = {one for one, after in ablate(f, metric, tokens).items() if after.mean() < 0.5}
    assert lost == planted.heads == {head(0, 0), head(1, 1)}
    # The answer is read at the last place: only there does the head above pass on that of another text.
    effect = 1 - patch(
        f, metric, tokens, jnp.asarray(planted.other), "decoder.1.self.head_output", axes=(1, 2)
    )
    places = np.argwhere(effect.mean(axis=-1) > 0.5)
    assert places.tolist() == [[1, tokens.shape[1] - 1]]
