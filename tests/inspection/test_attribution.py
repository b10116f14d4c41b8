"""Attribution, faithfulness and probes: identities and numbers worked by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from attnkit.errors import DataError
from attnkit.inspection import attribution, faithfulness
from attnkit.inspection.interventions import (
    ablate,
    gate_gradients,
    interval,
    knock_out,
    patch,
    rank_correlation,
    steer,
)
from attnkit.inspection.maps import Head
from attnkit.inspection.probes import linear_probe
from attnkit.points import opened, point, within

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.dirichlet(np.ones(5), size=(3, 2, 5))
READ = jnp.asarray(RANDOM.normal(size=(4, 2)))
TEXT = jnp.asarray(RANDOM.normal(size=(2, 3, 4)))


def bilinear(x):
    """Two heads that mix tokens evenly; the output is linear in each head."""
    with within("decoder", 0, "self"):
        x = point("embedding", x)
        w = jnp.full((2, 2, 3, 3), 1 / 3)
        values = jnp.stack([x, 2 * x], axis=1)
        heads = opened("weights", lambda: w, w @ values, lambda old, new: (new - old) @ values)
        heads = point("head_output", heads)
        y = point("mixer_output", heads.sum(axis=1))
    return point("residual", x + y) @ READ


def first(output):
    """The first number of the last token."""
    return output[:, -1, 0]


def test_rollout_rows_sum_to_one_and_follow_the_definition():
    found = attribution.rollout(MAPS)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-12)
    layers = [0.5 * np.eye(5) + 0.5 * one.mean(axis=0) for one in MAPS]
    np.testing.assert_allclose(found, layers[2] @ layers[1] @ layers[0], atol=1e-12)
    np.testing.assert_array_equal(attribution.rollout(np.eye(5)[None, None].repeat(3, 0)), np.eye(5))
    with pytest.raises(DataError, match="negative weights"):
        attribution.rollout(-MAPS)


def largest_flow(layers, source, sink):
    """The largest flow through all layers, by linear programming over its edges."""
    depth, tokens, _ = layers.shape
    edges = list(itertools.product(range(depth), range(tokens), range(tokens)))  # layer, from above, to below
    balance, gain = [], np.array([float(n == depth - 1 and i == source) for n, i, j in edges])
    for level, node in itertools.product(range(depth + 1), range(tokens)):
        into = np.array([float(n == level and j == node) for n, i, j in edges])
        out = np.array([float(n == level - 1 and i == node) for n, i, j in edges])
        if (level, node) not in ((depth, source), (0, sink)):
            balance.append(into - out)
    bounds = [(0, layers[n, i, j]) for n, i, j in edges]
    return -linprog(-gain, A_eq=np.array(balance), b_eq=np.zeros(len(balance)), bounds=bounds).fun


def test_flow_is_the_largest_one_of_a_linear_program():
    maps = MAPS[:2, :, :4, :4]
    found, layers = attribution.flow(maps), attribution.mixed(maps, 0.5)
    for source, sink in ((3, 0), (0, 2)):
        assert abs(found[source, sink] - largest_flow(layers, source, sink)) < 1e-5
    assert (found <= 1 + 1e-6).all()
    with pytest.raises(DataError, match=r"2 layers of 400 tokens are 1200 nodes; expected at most 1024"):
        attribution.flow(np.full((2, 1, 400, 400), 1 / 400))


def test_gradients_of_a_linear_model_are_complete():
    found = attribution.integrated_gradients(bilinear, first, "decoder.0.self.embedding", TEXT, steps=4)
    plain = attribution.input_gradient(bilinear, first, "decoder.0.self.embedding", TEXT)
    np.testing.assert_allclose(found.attribution, plain, rtol=1e-5)
    np.testing.assert_allclose(found.attribution.sum(axis=1), first(bilinear(TEXT)), rtol=1e-5)
    assert (found.error < 0.01).all()


def test_integrated_gradients_of_a_curve_are_complete_where_gradients_are_not():
    def curve(x):
        return jnp.exp(point("x", x).sum(axis=(1, 2)))

    found = attribution.integrated_gradients(curve, lambda y: y, "x", TEXT, baseline=0.5, steps=16)
    change = np.asarray(curve(TEXT) - jnp.exp(6.0))
    np.testing.assert_allclose(found.attribution.sum(axis=1), change, rtol=1e-4)
    assert (found.error < 0.01).all()


def test_ablation_is_the_gate_gradient_where_the_model_is_linear():
    metric = lambda output: first(output)  # noqa: E731
    slopes = gate_gradients(bilinear, metric, TEXT)
    zero = ablate(bilinear, metric, TEXT)
    whole = np.asarray(metric(bilinear(TEXT)))
    for head in (Head("decoder.0.self", 0), Head("decoder.0.self", 1)):
        np.testing.assert_allclose(whole.sum() - zero[head].sum(), slopes[head], rtol=1e-5)
    assert slopes[Head("decoder.0.self", 1)] == pytest.approx(2 * slopes[Head("decoder.0.self", 0)])
    same = ablate(bilinear, metric, TEXT, fill="resample", other=(TEXT,))
    np.testing.assert_allclose(same[Head("decoder.0.self", 0)], whole, rtol=1e-6)


def test_mean_ablation_puts_the_mean_of_all_examples_and_a_cut_edge_adds_nothing():
    text, read, head = np.asarray(TEXT), np.asarray(READ), Head("decoder.0.self", 1)
    change = 2 * (text.mean((0, 1)) - text.mean(1)) @ read[:, 0]  # head 1 writes twice the mean of its text
    whole = np.asarray(first(bilinear(TEXT)))
    np.testing.assert_allclose(ablate(bilinear, first, TEXT, fill="mean")[head], whole + change, rtol=1e-5)
    edges = np.zeros((2, 3, 3), bool)
    edges[1, 2, 0] = True  # head 1, the last token, from the first one
    cut = knock_out(bilinear, {"decoder.0.self": edges}, TEXT)
    np.testing.assert_allclose(first(cut), whole - 2 / 3 * text[:, 0] @ read[:, 0], rtol=1e-5)


def test_mean_ablation_puts_the_mean_of_batch_and_tokens():
    found = ablate(bilinear, first, TEXT, fill="mean")
    own = TEXT.mean(axis=1)
    for number, factor in enumerate((1, 2)):
        rest = TEXT[:, -1] + (3 - factor) * own + factor * own.mean(axis=0)
        np.testing.assert_allclose(found[Head("decoder.0.self", number)], (rest @ READ)[:, 0], rtol=1e-5)


def test_knocked_out_edges_carry_nothing_and_the_others_what_they_did():
    cut = jnp.zeros((2, 3, 3), bool).at[1, 2, 0].set(True)
    found = knock_out(bilinear, {"decoder.0.self": cut}, TEXT)
    whole = bilinear(TEXT)
    np.testing.assert_array_equal(found[:, :2], whole[:, :2])
    np.testing.assert_allclose(found[:, 2], whole[:, 2] - 2 / 3 * TEXT[:, 0] @ READ, rtol=1e-5, atol=1e-6)


def test_direct_effects_and_the_lens_see_what_each_head_adds():
    effects = attribution.direct_effects(bilinear, first, "residual", TEXT)
    zero, whole = ablate(bilinear, first, TEXT), np.asarray(first(bilinear(TEXT)))
    for head, effect in effects.items():
        np.testing.assert_allclose(effect, whole - zero[head], rtol=1e-4, atol=1e-6)
    streams = ["decoder.0.self.embedding", "residual"]
    lens = attribution.logit_lens(bilinear, streams, "residual", TEXT)
    np.testing.assert_allclose(lens, [TEXT @ READ, bilinear(TEXT)], rtol=1e-5)


def test_relevance_of_one_layer_in_closed_form():
    found = attribution.attention_relevance(bilinear, first, ["decoder.0.self"], TEXT)
    value = np.stack([TEXT, 2 * TEXT], axis=1) @ np.asarray(READ)[:, 0]  # d output / d weight of the last row
    step = np.maximum(value / 3, 0).mean(axis=1)
    np.testing.assert_allclose(found[:, -1], np.eye(3)[-1] + step, rtol=1e-5)
    np.testing.assert_array_equal(found[:, :2], np.eye(3)[None, :2].repeat(2, 0))


def test_patching_and_steering_move_one_piece():
    point_name = "decoder.0.self.embedding"
    both = patch(bilinear, first, TEXT, -TEXT, point_name, axes=(1,))
    assert both.shape == (3, 2)
    moved = TEXT.at[:, 0].multiply(-1)
    np.testing.assert_allclose(both[0], first(bilinear(moved)), rtol=1e-5)
    steered = steer(bilinear, "residual", jnp.ones(4), TEXT, places=jnp.arange(3) == 2)
    np.testing.assert_allclose(
        steered[:, 2] - bilinear(TEXT)[:, 2], READ.sum(0)[None].repeat(2, 0), rtol=1e-4
    )
    np.testing.assert_array_equal(steered[:, :2], bilinear(TEXT)[:, :2])


def test_influence_is_the_norm_of_the_jacobian():
    a = RANDOM.normal(size=(3, 3))
    found = attribution.influence(lambda x: jnp.asarray(a) @ x, TEXT[0])
    np.testing.assert_allclose(found, np.abs(a) * 2, rtol=1e-5)  # the norm of the 4 x 4 unit matrix is 2
    with pytest.raises(DataError, match="12 outputs; expected at most 5"):
        attribution.influence(lambda x: x, TEXT[0], most=5)


def test_curves_of_the_right_ranking_fall_at_once():
    tokens = np.array([[1, 2, 3, 9], [4, 5, 6, 9]])
    count = lambda ids: (ids == 2).sum(axis=1) + (ids == 6).sum(axis=1)  # noqa: E731
    metric = lambda output: output.astype(jnp.float32)  # noqa: E731
    right = np.array([[0, 1, 0, 5], [0, 0, 1, 5]])
    held = np.array([[False, False, False, True]] * 2)
    curves = faithfulness.ranking_curves(count, metric, tokens, right, fill=0, fixed=held)
    np.testing.assert_array_equal(curves.deletion, [[1, 1], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(curves.insertion, [[0, 0], [1, 1], [1, 1], [1, 1]])
    assert curves.comprehensiveness.tolist() == [1, 1] and curves.sufficiency.tolist() == [0, 0]
    wrong = faithfulness.ranking_curves(count, metric, tokens, -right, fill=0, fixed=held)
    assert (wrong.comprehensiveness < 0.5).all() and (wrong.sufficiency > 0.5).all()


def test_uniform_attention_is_a_control():
    def attend(x):
        with within("a"):
            w = jnp.array([[[[1.0, 0, 0], [0.9, 0.1, 0], [0.2, 0.3, 0.5]]]])
            return opened("weights", lambda: w, w @ x, lambda old, new: (new - old) @ x)

    x = jnp.arange(3.0)[None, None, :, None]
    found = faithfulness.with_uniform_attention(attend, ["a"], x)
    np.testing.assert_allclose(found.ravel(), [0, 0.5, 1], rtol=1e-6)


def test_a_probe_reads_what_is_there_and_its_control_does_not():
    labels = RANDOM.integers(3, size=300)
    vectors = np.eye(3)[labels] + 0.1 * RANDOM.normal(size=(300, 3))
    found = linear_probe(vectors, labels, kinds=np.arange(300))
    assert found.accuracy > 0.99 and found.control < 0.55 and found.selectivity > 0.4
    noise = linear_probe(RANDOM.normal(size=(300, 3)), labels, kinds=np.arange(300))
    assert noise.accuracy < 0.5
    with pytest.raises(DataError, match="expected 4 or more of each"):
        linear_probe(vectors[:2], labels, labels)


def test_ranks_and_intervals():
    assert rank_correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6)
    assert rank_correlation([1, 1, 2], [5, 5, 9]) == pytest.approx(1)
    assert np.isnan(rank_correlation([1, 1], [0, 3]))
    low, high = interval(np.r_[np.zeros(50), np.ones(50)])
    assert 0.38 < low < 0.5 < high < 0.62


def test_analyses_leave_their_arguments_alone():
    before = np.array(TEXT)
    jax.block_until_ready(attribution.logit_lens(bilinear, ["residual"], "residual", TEXT))
    np.testing.assert_array_equal(before, TEXT)
