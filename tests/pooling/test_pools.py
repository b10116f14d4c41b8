import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import pools

from attnkit.pooling import contract
from attnkit.pooling.additive_pooling import AdditivePooling
from attnkit.pooling.contract import Pool
from attnkit.pooling.first import First
from attnkit.pooling.last import Last
from attnkit.pooling.learned_query import LearnedQuery
from attnkit.pooling.max import Max
from attnkit.pooling.mean import Mean
from attnkit.pooling.pma import Pma
from attnkit.pooling.self_attentive import SelfAttentive
from attnkit.pooling.sum import Sum
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.normalizer.sparsemax import Sparsemax

pytestmark = pytest.mark.one_python

TOKENS, DIM = 7, 6
pool = jax.jit(contract.pool, static_argnums=0)
EVERY = {
    "mean": Mean(),
    "sum": Sum(),
    "max": Max(),
    "first": First(),
    "last": Last(),
    "additive_pooling": AdditivePooling(hidden=5),
    "self_attentive": SelfAttentive(hops=3, hidden=5, penalty=0.7),
    "learned_query": LearnedQuery(heads=2),
    "pma": Pma(seeds=3, heads=2),
}
ORDERED = {"first", "last"}
KEEP = jnp.array([False, True, True, False, True, True, False])


@functools.cache
def made(name):
    chosen = EVERY[name]
    p = chosen.init(jax.random.key(3), DIM)
    # Biases start at zero, which would hide them.
    return jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(a.size), a.shape), p)


@pytest.fixture
def x():
    return jax.random.normal(jax.random.key(1), (TOKENS, DIM))


def many(name):
    return pytest.mark.parametrize("name", name)


@many(EVERY)
def test_shapes_and_sums(name, x):
    chosen = EVERY[name]
    found = pool(chosen, made(name), x, KEEP)
    assert isinstance(chosen, Pool) and chosen.card.source and chosen.card.equation
    assert found.output.shape == (chosen.outputs(), DIM)
    assert found.weights.shape[1] == TOKENS
    assert not found.weights[:, ~KEEP].any()
    np.testing.assert_allclose(found.weights.sum(1), 4 if name == "sum" else 1, rtol=1e-6)


@many(EVERY)
def test_what_is_not_kept_has_no_influence_even_if_it_is_not_a_number(name, x):
    chosen, p = EVERY[name], made(name)

    def loss(p, x):
        output, weights, penalty = contract.pool(chosen, p, x, KEEP)
        return jnp.sum(jnp.sin(output)) + jnp.sum(weights**2) + penalty, output

    short = pool(chosen, p, x[KEEP])
    gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    reference = gradient(p, x)
    for junk in (jnp.nan, jnp.inf, 1e30):
        spoiled = gradient(p, jnp.where(KEEP[:, None], x, junk))
        chex.assert_trees_all_equal(reference, spoiled)
    np.testing.assert_allclose(reference[0][1], short.output, atol=1e-6)
    assert not reference[1][1][~KEEP].any()
    assert all(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(reference[1]))


@many(EVERY)
def test_nothing_to_pool_gives_zeros_and_finite_gradients(name, x):
    chosen, p, none = EVERY[name], made(name), jnp.zeros(TOKENS, bool)
    output, weights, penalty = pool(chosen, p, x, none)
    assert not output.any() and not weights.any() and not jnp.any(jnp.asarray(penalty))
    gradient = jax.jit(jax.grad(lambda p, x: jnp.sum(contract.pool(chosen, p, x, none).output), (0, 1)))(p, x)
    assert all(bool(jnp.all(leaf == 0)) for leaf in jax.tree.leaves(gradient))


@many(sorted(set(EVERY) - ORDERED))
@pytest.mark.parametrize("seed", range(3))
def test_order_does_not_matter(name, seed, x):
    order = jax.random.permutation(jax.random.key(seed), TOKENS)
    one, two = (pool(EVERY[name], made(name), a, k) for a, k in ((x, KEEP), (x[order], KEEP[order])))
    np.testing.assert_allclose(one.output, two.output, atol=1e-6)
    np.testing.assert_allclose(one.weights[:, order], two.weights, atol=1e-6)
    np.testing.assert_allclose(one.penalty, two.penalty, atol=1e-6)


@many(EVERY)
def test_half_precision_keeps_its_type_and_wide_weights(name, x):
    found = pool(EVERY[name], made(name), x.astype(jnp.bfloat16), KEEP)
    exact = pool(EVERY[name], made(name), x, KEEP)
    assert found.output.dtype == jnp.bfloat16 and found.weights.dtype == jnp.float32
    np.testing.assert_allclose(found.output.astype(jnp.float32), exact.output, atol=0.08)


ORACLES = {
    "additive_pooling": pools.additive_pooling,
    "self_attentive": pools.self_attentive,
    "learned_query": pools.learned_query,
    "pma": functools.partial(pools.pma, heads=2),
}


@many(ORACLES)
def test_pools_agree_with_loops_in_double_precision(name, x):
    p = {key: np.asarray(a, np.float64) for key, a in made(name).items() if key != "parts"}
    output, weights = ORACLES[name](p, np.asarray(x, np.float64)[np.asarray(KEEP)])
    found = pool(EVERY[name], made(name), x, KEEP)
    np.testing.assert_allclose(found.output, output, atol=3e-6)
    np.testing.assert_allclose(found.weights[:, KEEP], weights, atol=1e-6)
    if name == "self_attentive":
        np.testing.assert_allclose(found.penalty, 0.7 * pools.self_attentive_penalty(weights), rtol=1e-5)


def test_simple_pools_by_hand():
    x = jnp.array([[2.0, 9.0, 1.0], [4.0, 5.0, 1.0], [6.0, 5.0, 0.0], [99.0, 99.0, 99.0]])
    keep = jnp.array([True, True, True, False])
    third = 1 / 3
    for chosen, output, weights in (
        (Mean(), [4, 19 / 3, 2 / 3], [third, third, third, 0]),
        (Sum(), [12, 19, 2], [1, 1, 1, 0]),
        (Max(), [6, 9, 1], [0.5, 1 / 6, third, 0]),
        (First(), [2, 9, 1], [1, 0, 0, 0]),
        (Last(), [6, 5, 0], [0, 0, 1, 0]),
    ):
        found = pool(chosen, {}, x, keep)
        np.testing.assert_allclose(found.output, [output], rtol=1e-6)
        np.testing.assert_allclose(found.weights, [weights], rtol=1e-6)


def test_additive_attention_by_hand():
    p = {
        "matrix": jnp.array([[1.0], [0.0]]),
        "bias": jnp.array([0.5]),
        "context": jnp.array([2.0]),
        "parts": {},
    }
    x = jnp.array([[0.5, 3.0], [-0.5, 5.0]])
    w = 1 / (1 + np.exp(-2 * np.tanh(1.0)))
    found = pool(AdditivePooling(), p, x)
    np.testing.assert_allclose(found.weights, [[w, 1 - w]], rtol=1e-6)
    np.testing.assert_allclose(found.output, [[w - 0.5, 3 * w + 5 * (1 - w)]], rtol=1e-5)


def test_hops_that_look_apart_have_no_penalty_and_equal_ones_do():
    x, chosen = 40 * jnp.eye(2), SelfAttentive(hops=2, penalty=3.0)
    apart = {"first": jnp.eye(2), "second": 40 * jnp.eye(2), "parts": {}}
    np.testing.assert_allclose(pool(chosen, apart, x).penalty, 0, atol=1e-6)
    # Both hops at the first token: A A^T - I has two ones beside the diagonal.
    equal = dict(apart, second=jnp.array([[40.0, 0.0], [40.0, 0.0]]))
    np.testing.assert_allclose(pool(chosen, equal, x).penalty, 6, rtol=1e-6)


@pytest.mark.parametrize(
    "chosen",
    [
        AdditivePooling(normalizer=Sparsemax()),
        SelfAttentive(normalizer=Sparsemax()),
        LearnedQuery(heads=2, normalizer=Sink()),
    ],
)
def test_any_normalizer_will_do(chosen, x):
    p = chosen.init(jax.random.key(0), DIM)
    weights = pool(chosen, p, (1 if isinstance(chosen, LearnedQuery) else 9) * x, KEEP).weights
    if isinstance(chosen, LearnedQuery):
        assert p["parts"]
        assert bool(jnp.all(weights.sum(1) < 1))
    else:
        assert int((weights[:, KEEP] == 0).sum()) > 0


def test_heads_that_do_not_divide_the_width_are_refused():
    for chosen in (LearnedQuery(heads=4), Pma(heads=4)):
        with pytest.raises(ValueError, match="heads = 4 must divide the width 6"):
            chosen.init(jax.random.key(0), DIM)


def test_pooling_segments_is_pooling_each_alone(x):
    segment = jnp.array([0, 0, 1, 1, 1, 3, 3])
    chosen, p = EVERY["learned_query"], made("learned_query")
    found = jax.jit(jax.vmap(lambda n: contract.pool(chosen, p, x, segment == n).output))(jnp.arange(4))
    np.testing.assert_allclose(found[1], pool(chosen, p, x[2:5]).output, atol=1e-6)
    assert not found[2].any()
