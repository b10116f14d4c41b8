"""Networks with known circuits: every method finds exactly what was planted."""

import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.experiment.inspect_planted import found
from attnkit.inspection.attribution import attention_relevance
from attnkit.inspection.faithfulness import found as found_share
from attnkit.inspection.faithfulness import random_ranking, ranking_curves
from attnkit.inspection.heads import capture
from attnkit.inspection.interventions import ablate, patch, path_effects
from attnkit.inspection.planted import CIRCUITS, head, plant
from attnkit.inspection.probes import linear_probe

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


@pytest.fixture(scope="module", params=["softmax", "linear"])
def previous(request):
    """A planted network whose answer is the last token but one, its points read, and where that token is."""
    planted = plant("previous token", request.param, examples=8)
    points = ["decoder.embedding", "decoder.residual"]
    values = capture(planted.model(), points)(jnp.asarray(planted.tokens)).values
    evidence = np.zeros(planted.tokens.shape, bool)
    evidence[:, -2] = True
    return planted, values, evidence


def test_attention_times_gradient_points_at_the_planted_token(previous):
    """Of a recurrence, too, whose weights are never made by the network itself."""
    planted, _, evidence = previous
    relevance = attention_relevance(
        planted.model(), planted.log_probability(), ["decoder.0.self"], jnp.asarray(planted.tokens)
    )
    last = np.asarray(relevance)[:, -1] - np.eye(planted.tokens.shape[1])[-1]
    assert found_share(last, evidence) == 1
    assert (last[:, -2] > 5 * np.delete(last, -2, axis=1).max(axis=1)).all()


def test_curves_tell_the_planted_ranking_from_a_random_one(previous):
    planted, _, evidence = previous
    held = np.zeros_like(evidence)
    held[:, -1] = True  # the query stays

    def curves(ranking):
        filler = 20  # a word that is never an answer
        f, metric = planted.model(), planted.metric()
        return ranking_curves(f, metric, planted.tokens, ranking, fill=filler, fixed=held)

    right, wrong = curves(evidence.astype(float)), curves(random_ranking(evidence.shape))
    # Where nothing else is left, weights of 1e-17 of another copy of the word can still decide an answer.
    assert right.comprehensiveness.mean() > 0.95 and (right.sufficiency == 0).all()
    assert wrong.comprehensiveness.mean() < 0.8 and wrong.sufficiency.mean() > 0.2


def test_a_probe_reads_the_planted_token_where_it_was_written(previous):
    planted, values, _ = previous
    labels, kinds = planted.tokens[:, 1:-1].ravel(), planted.tokens[:, 2:].ravel()

    def probe(name):
        vectors = np.asarray(values[name])[:, 2:]
        return linear_probe(vectors.reshape(-1, vectors.shape[-1]), labels, kinds, ridge=1e-4)

    before, after = probe("decoder.embedding"), probe("decoder.residual")
    assert after.accuracy == 1 and before.accuracy < 0.35  # of 12 words


def test_path_patching_tells_the_planted_input_of_the_head_above():
    planted = plant("induction", "softmax", examples=4)
    tokens, other = jnp.asarray(planted.tokens), jnp.asarray(planted.other)
    effects = path_effects(planted.model(), planted.metric(), tokens, other, inputs=("k", "v"))
    lost = {edge for edge, after in effects.items() if after.mean() < 0.5}
    assert len(effects) == 2 * 2 * 2 + 4 and lost == planted.edges
