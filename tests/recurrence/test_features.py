"""Feature maps of linear attention that estimate or reweigh softmax, and Luna's causal form."""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import approximations as oracle
from recurrence.catalogue import computed, draw

from attnkit import forms
from attnkit.conformance import check
from attnkit.conformance.approximation import Inputs, error, slope
from attnkit.experiment.catalogue import camel
from attnkit.recurrence.feature.cosformer import Cosformer
from attnkit.recurrence.feature.performer import Performer
from attnkit.recurrence.feature.random_feature import RandomFeature
from attnkit.recurrence.random_directions import directions
from attnkit.recurrence.variant.linear import Linear
from attnkit.recurrence.variant.luna_causal import LunaCausal
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

TOKENS, SHAPE = 19, HeadShape(2, 4, 3)
CASES = [
    ("performer", {"directions": 13}, {}),
    ("performer", {"directions": 13, "kind": "hyperbolic"}, {"kind": "hyperbolic"}),
    ("performer", {"directions": 97, "kind": "trigonometric"}, {"kind": "trigonometric"}),
    ("random_feature", {"directions": 61}, {}),
    ("random_feature", {"directions": 61}, {"gate": True}),
    ("cosformer", {"length": 29}, {"length": 29}),
]


def feature_of(name, options):
    module = importlib.import_module(f"attnkit.recurrence.feature.{name}")
    return getattr(module, camel(name))(**options)


def one_head(params, inputs, head):
    """What an oracle takes of a head."""
    p = {name.removeprefix("feature_"): a[head] for name, a in params.items()}
    return (p, *(inputs[name][head] for name in "qkv"))


@pytest.mark.parametrize("form", ["scan", "chunked", "matrix"])
@pytest.mark.parametrize(("name", "options", "told"), CASES)
def test_past_and_whole_agree_with_the_papers_equation(name, options, told, form):
    gated = told.get("gate", False)
    for causal in (True,) if gated else (True, False):
        variant = Linear(
            feature=feature_of(name, options),
            direction="forward" if causal else "both",
            forget_gate=gated,
        )
        params, inputs = draw(variant, SHAPE, TOKENS)
        with jax.enable_x64(True):
            chunk = {"chunk": 4} if form == "chunked" else {}
            got = computed(variant, SHAPE, params, inputs, implementation=form, **chunk).output
        for head in range(SHAPE.heads):
            p, *qkv = one_head(params, inputs, head)
            p |= {"gate": inputs["forget_gate"][head]} if gated else {}
            true = getattr(oracle, name)(p, *qkv, **({"causal": causal} | told))
            np.testing.assert_allclose(got[head], true, rtol=0, atol=1e-11 * np.abs(true).max())


@pytest.mark.parametrize("form", ["scan", "chunked", "matrix"])
def test_luna_agrees_with_the_paper_s_equation_in_every_document(form):
    variant, cut = LunaCausal(rows=3), 7
    params, inputs = draw(variant, SHAPE, TOKENS)
    segments = (jnp.arange(TOKENS) >= cut).astype(int)
    with jax.enable_x64(True):
        got = computed(variant, SHAPE, params, inputs, implementation=form, segments=segments).output
    for head in range(SHAPE.heads):
        for part in (slice(0, cut), slice(cut, None)):
            q, k, v, pack = (inputs[name][head, part] for name in ("q", "k", "v", "pack"))
            true = oracle.luna_causal({"rows": params["rows"][head], "pack": pack}, q, k, v)
            np.testing.assert_allclose(got[head, part], true, rtol=0, atol=1e-11 * np.abs(true).max())


def weights(feature, params, q, k, **options):
    """The weights of one head with one value channel."""
    variant, shape = Linear(feature=feature, **options), HeadShape(1, q.shape[1], 1)
    inputs = {"q": q[None], "k": k[None], "v": jnp.zeros((1, len(q), 1))}
    inputs |= {"forget_gate": jnp.zeros((1, len(q), 1))} if variant.forget_gate else {}
    params = {f"feature_{name}": a[None] for name, a in params.items()}
    return np.asarray(forms.recurrent_weights(variant, shape, params, inputs)[0])


def column(*numbers):
    return jnp.array(numbers, jnp.float32)[:, None]


def test_one_positive_feature():
    # f(x) = exp(x - x^2 / 2) in one dimension with direction 1: f(0) = 1, f(1) = sqrt(e)
    got = weights(
        Performer(directions=1), {"direction": column(1)}, column(0, 0), column(0, 1), direction="both"
    )
    np.testing.assert_allclose(
        got[0], [1 / (1 + math.sqrt(math.e)), 1 / (1 + 1 / math.sqrt(math.e))], rtol=1e-6
    )


def test_one_random_wave():
    # Only the angle between directions counts: cos(0) = 1 and cos(pi / 3) = 1/2
    p = {"direction": jnp.array([[math.pi / 3, 0]]), "sigma": jnp.ones(2)}
    q, k = jnp.array([[3.0, 0], [1, 1]]), jnp.array([[7.0, 0], [0, 2.0]])
    got = weights(RandomFeature(directions=1), p, q, k, direction="both")
    np.testing.assert_allclose(got[0], [2 / 3, 1 / 3], rtol=1e-6)


def test_a_gate_of_one_half_halves_the_past():
    p = {"direction": jnp.zeros((1, 1)), "sigma": jnp.ones(1)}
    got = weights(RandomFeature(directions=1), p, column(1, 1, 1), column(1, 1, 1), forget_gate=True)
    np.testing.assert_allclose(got, [[1, 0, 0], [1 / 3, 2 / 3, 0], [1 / 7, 2 / 7, 4 / 7]], rtol=1e-6)


def test_cosine_of_the_distance():
    # M = 3: neighbors are reweighted by cos(pi / 6); a negative key is cut off by the ReLU
    got = weights(Cosformer(length=3), {}, column(1, 1, 1), column(1, 2, -1), direction="both")
    turn = math.cos(math.pi / 6)
    np.testing.assert_allclose(got[0], [1 / (1 + 2 * turn), 2 * turn / (1 + 2 * turn), 0], rtol=1e-6)


def test_one_token_of_luna_reads_what_it_wrote():
    # softplus of base 2 of a score of 0 is 1
    inputs = {"q": jnp.ones((1, 1, 2)), "k": jnp.ones((1, 1, 2)), "pack": jnp.ones((1, 1, 2))}
    inputs |= {"v": jnp.full((1, 1, 1), 5.0)}
    got = forms.recur(LunaCausal(rows=1), HeadShape(1, 2, 1), {"rows": jnp.zeros((1, 1, 2))}, inputs)
    np.testing.assert_allclose(got.output, [[[5]]], rtol=1e-6)


@pytest.mark.parametrize(("gated", "direction"), [(False, "forward"), (False, "both"), (True, "forward")])
def test_large_keys_neither_overflow_nor_vanish(gated, direction):
    """Levels between -800 and 0, and gates that forget everything: float32 against float64, by logarithms."""
    variant = Linear(feature=Performer(directions=5), forget_gate=gated, direction=direction)
    params, inputs = draw(variant, SHAPE, 23)
    inputs["k"] = inputs["k"] * np.linspace(30, 1, 23)[:, None]
    if gated:
        inputs["forget_gate"][:, 7] = -2000.0  # as good as a new beginning
    low = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (params, inputs))
    got = computed(variant, SHAPE, *low, implementation="chunked", chunk=4).output
    for head in range(SHAPE.heads):
        p, q, k, v = one_head(*(jax.tree.map(np.float64, part) for part in low), head)

        def logs(x, w=p["direction"]):
            x = x / x.shape[1] ** 0.25
            return x @ w.T - (x**2).sum(1, keepdims=True) / 2

        pairs = np.logaddexp.reduce(logs(q)[:, None] + logs(k)[None], axis=-1)
        if gated:
            raw = np.float64(low[1]["forget_gate"][head, :, 0])
            log_gate, log_write = -np.logaddexp(0, -raw), -np.logaddexp(0, raw)
            for t, s in np.argwhere(np.tri(23)):
                pairs[t, s] += log_gate[s + 1 : t + 1].sum() + log_write[s]
        if direction == "forward":
            pairs = np.where(np.tri(23, dtype=bool), pairs, -np.inf)
        true = np.exp(pairs - pairs.max(axis=1, keepdims=True))
        true = true / true.sum(axis=1, keepdims=True) @ v
        np.testing.assert_allclose(got[head], true, rtol=0, atol=3e-4 * np.abs(true).max())


DIM, DRAWS, DIRECTIONS = 4, 20000, 4
SIGMAS = 5


@functools.cache
def draws(feature):
    """Estimates of the kernel, `[draws, queries, keys]`, and the queries and keys."""
    random, shape = np.random.default_rng(3), HeadShape(1, DIM, DIM)
    with jax.enable_x64(True):
        q, k = (0.4 * jnp.asarray(random.normal(size=(n, DIM))) for n in (3, 2))
        more = {n: a[0] for n, a in feature.init(jax.random.key(0), shape).items()}

        def one(key):
            p = {**more, **{n: a[0] for n, a in feature.random_constants(key, shape).items()}}
            sides = (feature.features_at(p, x, None) for x in (q, k))
            f, h = (
                f.values if f.log_scale is None else f.values * jnp.exp(f.log_scale)[:, None] for f in sides
            )
            return f @ h.T

        found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), DRAWS))
    return np.asarray(found), np.asarray(q), np.asarray(k)


def scaled(x):
    return x / DIM**0.25


def within(got, spread, true):
    """The mean of `got` is `true` up to five standard errors, and not for lack of draws."""
    bound = SIGMAS * spread / math.sqrt(DRAWS)
    assert np.all(np.abs(got - true) < bound), (got - true) / bound
    assert np.all(bound < 0.1 * np.abs(true))


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("kind", ["positive", "hyperbolic", "trigonometric"])
def test_performer_features_are_unbiased(kind, orthogonal):
    found, q, k = draws(Performer(directions=DIRECTIONS, kind=kind, orthogonal=orthogonal))
    within(found.mean(axis=0), found.std(axis=0), np.exp(scaled(q) @ scaled(k).T))


def test_rfa_features_are_unbiased():
    found, q, k = draws(RandomFeature(directions=DIRECTIONS))
    x, y = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (q, k))
    within(found.mean(axis=0), found.std(axis=0), np.exp(x @ y.T - 1))


def proven(q, k, kind):
    """The mean squared error of independent features: Choromanski et al. 2021, lemma 2, and its appendix."""
    x, y = scaled(q)[:, None], scaled(k)[None]
    plus, minus = np.sum((x + y) ** 2, axis=-1), np.sum((x - y) ** 2, axis=-1)
    kernel = np.exp(np.sum(x * y, axis=-1))
    positive = np.exp(plus) * kernel**2 * (1 - np.exp(-plus)) / DIRECTIONS
    return {
        "positive": positive,
        "hyperbolic": positive * (1 - np.exp(-plus)) / 2,
        "trigonometric": np.exp(plus) / kernel**2 * (1 - np.exp(-minus)) ** 2 / (2 * DIRECTIONS),
    }[kind]


@pytest.mark.parametrize("kind", ["positive", "hyperbolic", "trigonometric"])
def test_independent_features_have_the_proven_variance(kind):
    found, q, k = draws(Performer(directions=DIRECTIONS, kind=kind, orthogonal=False))
    square = (found - np.exp(scaled(q) @ scaled(k).T)) ** 2
    standard = square.std(axis=0) / math.sqrt(DRAWS)
    assert np.all(np.abs(square.mean(axis=0) - proven(q, k, kind)) < SIGMAS * standard)


def test_orthogonal_features_are_better_by_what_is_proven():
    # Theorem 2: MSE(orthogonal) <= MSE(independent) - 2 (m - 1) / (m (d + 2)) (SM - exp(-(x^2 + y^2) / 2))^2
    found, q, k = draws(Performer(directions=DIRECTIONS))
    x, y = scaled(q)[:, None], scaled(k)[None]
    kernel = np.exp(np.sum(x * y, axis=-1))
    gain = 2 * (DIRECTIONS - 1) / (DIRECTIONS * (DIM + 2))
    gain = gain * (kernel - np.exp(-(np.sum(x**2, -1) + np.sum(y**2, -1)) / 2)) ** 2
    square = (found - kernel) ** 2
    standard = square.std(axis=0) / math.sqrt(DRAWS)
    independent = proven(q, k, "positive")
    assert np.all(square.mean(axis=0) < independent - gain + SIGMAS * standard)
    assert np.sum(square.mean(axis=0) < independent - 3 * standard) >= 3


LAWS = [
    pytest.param(Performer(), 0.4, (-0.6, -0.4), id="positive"),
    pytest.param(Performer(kind="trigonometric"), 0.4, (-0.6, -0.4), id="waves", marks=pytest.mark.slow),
    pytest.param(RandomFeature(), 1.0, (-0.65, -0.45), id="rfa", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("feature", "scale", "bounds"), LAWS)
def test_the_error_falls_as_the_square_root_of_the_features(feature, scale, bounds):
    variant = Linear(feature=feature, direction="both")
    rows = error(variant, (32, 128, 512), range(4), Inputs(tokens=31, dim=8, scale=scale))
    assert bounds[0] < slope(rows, "target") < bounds[1], rows
    assert rows[-1].target[0] < 0.15


def test_with_large_queries_and_keys_positive_features_are_of_no_use():
    # Their variance grows with exp(|q + k|^2 / sqrt(dim)): at unit variance in 32 dimensions about 6e4.
    rows = error(Linear(feature=Performer(), direction="both"), (256,), range(4), Inputs(tokens=64, dim=32))
    assert rows[0].matrix[0] > 0.8


def test_a_gated_estimate_is_compared_with_its_gated_kernel():
    variant = Linear(feature=RandomFeature(), forget_gate=True)
    rows = error(variant, (512,), range(4), Inputs(tokens=31, dim=8))
    assert rows[0].target[0] < 0.15 < rows[0].matrix[0]


def test_what_has_no_budget_is_refused_one():
    with pytest.raises(ValueError, match="Cosformer has no option that buys accuracy"):
        error(Linear(feature=Cosformer()), (4,))


def test_directions_are_orthogonal_within_a_block_and_normal_in_length():
    w = np.asarray(directions(jax.random.key(0), 4000, 4, True))
    blocks = w.reshape(-1, 4, 4) / np.linalg.norm(w, axis=1).reshape(-1, 4, 1)
    np.testing.assert_allclose(blocks @ blocks.transpose(0, 2, 1), np.eye(4)[None].repeat(1000, 0), atol=1e-5)
    np.testing.assert_allclose(w.mean(axis=0), 0, atol=5 / math.sqrt(4000))
    np.testing.assert_allclose(w.T @ w / 4000, np.eye(4), atol=5 * math.sqrt(2 / 4000))
    assert abs(np.mean(np.sum(w**2, 1) ** 2) - 4 * 6) < 5 * math.sqrt(np.var(np.sum(w**2, 1) ** 2) / 4000)


def test_more_tokens_than_a_cosine_reaches_are_refused():
    with pytest.raises(ValueError, match="Cosformer: length = 5 is too short for 7 tokens; set length = 7"):
        weights(Cosformer(length=5), {}, jnp.ones((7, 1)), jnp.ones((7, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature": Performer(), "normalizer": False}, "set normalizer = True"),
        ({"forget_gate": True, "direction": "both"}, "forget_gate = True needs direction = 'forward'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Linear(**options)


CHECKED = [
    Linear(feature=Performer(directions=7)),
    Linear(feature=Performer(directions=7), direction="both"),
    Linear(feature=Performer(directions=7), forget_gate=True),
    Linear(feature=RandomFeature(directions=61), forget_gate=True),
    Linear(feature=Cosformer(length=71)),
    LunaCausal(rows=3),
]


@pytest.mark.parametrize("variant", [pytest.param(v, marks=pytest.mark.slow) for v in CHECKED], ids=str)
def test_every_feature_map_passes_its_conformance(variant):
    matrix = check(variant)
    assert matrix.ok, f"\n{matrix}"


def test_the_stabilizer_passes_its_conformance_in_brief():
    only = frozenset({"agreement", "causality", "padding", "resets"})
    matrix = check(Linear(feature=Performer(directions=7), forget_gate=True), only=only)
    assert matrix.ok, f"\n{matrix}"
