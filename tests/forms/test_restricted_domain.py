"""Functions that exist only where the mask allows: masked pairs reach no result and no derivative."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Parts, Position, Queries, Rows, Score, Scores
from attnkit.scored.domain import KEY, OF_TOKENS, QUERY, SHARED, expect_pairs, on_allowed
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.dot import Dot
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

HEADS, DIM, VALUE_DIM = 2, 3, 4
HOW = {
    "reference": {"implementation": "reference"},
    "dense": {"implementation": "dense"},
    "blockwise": {"block": (4, 4)},
    "split": {"implementation": "split", "block": (4, 4)},
}


@options
class LogDistance(Position):
    """`-log(1 + i - j) / 2`: NaN for keys after the next."""

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return -0.5 * jnp.log(1.0 + i[:, None] - j[None, :])


@options
class LearnedLogDistance(Position):
    """`strength log(1 + i - j)`: of keys after the query, -inf for the next and NaN for others."""

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        return {"strength": jnp.full(shape.heads, -0.5)}

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return p["strength"] * jnp.log(1.0 + i[:, None] - j[None, :])


@options
class Turned(LearnedLogDistance):
    """The same as keys by queries, turned at the end, by a function that is compiled."""

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        @jax.jit
        def of_distance(distance: jax.Array) -> jax.Array:
            return p["strength"] * jnp.log(1.0 + distance)

        return of_distance(i[None, :] - j[:, None]).T


@options
class AfterTheScore(LearnedLogDistance):
    """The same, added to the scores by a root that exists where the mask allows."""

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores | None:
        return None

    def transform_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        root = jnp.sqrt(1.0 + i[:, None] - j[None, :])
        return s + 2 * p["strength"] * jnp.log(root)


@options
class InPairs(Score):
    """The dot product, from vectors of pairs that are divided by something that is 0 after the query."""

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        seen = jnp.maximum(1.0 + i[:, None] - j[None, :], 0)[:, :, None]
        return (
            jnp.sum(jnp.sqrt(seen * q[:, None] ** 2) * jnp.sign(q)[:, None] * k / jnp.sqrt(seen), 2)
            / DIM**0.5
        )


def weigh_softmax(s, keep):
    e = jnp.where(keep, jnp.exp(jnp.where(keep, s, 0)), 0)
    return e / jnp.sum(e, axis=-1, keepdims=True)


def weigh_sparsemax(s, keep):
    """Martins & Astudillo 2016, algorithm 1."""
    s = jnp.where(keep, s, -1e6)
    falling = -jnp.sort(-s, axis=-1)
    count, total = jnp.arange(1, s.shape[-1] + 1), jnp.cumsum(falling, axis=-1)
    size = jnp.sum(1 + count * falling > total, axis=-1, keepdims=True)
    tau = (jnp.take_along_axis(total, size - 1, axis=-1) - 1) / size
    return jnp.maximum(s - tau, 0)


WEIGH = {"softmax": (Softmax(), weigh_softmax), "sparsemax": (Sparsemax(), weigh_sparsemax)}


def by_hand(weigh, queries):
    """Attention of the last `queries` tokens, dense, of arrays without NaN."""

    def output(strength, q, k, v):
        keys = k.shape[1]
        i, j = np.arange(keys - queries, keys)[:, None], np.arange(keys)[None, :]
        bias = np.log(np.where(j <= i, 1 + i - j, 1))
        s = jnp.einsum("hid,hjd->hij", q, k) / DIM**0.5 + strength[:, None, None] * bias
        return jnp.einsum("hij,hjc->hic", weigh(s, j <= i), v)

    return output


def all_derivatives(output):
    def total(point):
        return jnp.sum(jnp.sin(output(*point)))

    def run(point, moved):
        gradient = jax.grad(total)

        def along(at):
            return sum(map(jnp.vdot, *map(jax.tree.leaves, (gradient(at), moved))))

        return {
            "value": output(*point),
            "reverse": gradient(point),
            "forward": jax.jvp(output, point, moved)[1],
            "forward over reverse": jax.jvp(gradient, (point,), (moved,))[1],
            "reverse over reverse": jax.grad(along)(point),
            "reverse over forward": jax.grad(lambda at: jax.jvp(total, (at,), (moved,))[1])(point),
        }

    return jax.jit(run)


def draw(queries, keys, seed):
    random = np.random.default_rng(seed)
    sizes = ((HEADS, queries, DIM), (HEADS, keys, DIM), (HEADS, keys, VALUE_DIM))
    return tuple(jnp.asarray(random.normal(size=size)) for size in sizes)


def compare(position, kind, queries, keys, how):
    """All derivatives of a form and of the dense computation; a fixed bias has no strength to derive by."""
    normalizer, weigh = WEIGH[kind]
    variant = Attention(position=(position,), normalizer=normalizer, mask=Causal()).scored()
    learned = isinstance(position, LearnedLogDistance)

    def output(strength, q, k, v):
        params = Parts({}, {}, ({"strength": strength} if learned else {},))
        return forms.attend(variant, params, q, k, v, offset=keys - queries, **how).output

    with jax.enable_x64(True):
        point = (jnp.full(HEADS, -0.5), *draw(queries, keys, 0))
        moved = (jnp.array([0.7, -0.3]) if learned else jnp.zeros(HEADS), *draw(queries, keys, 1))
        found = all_derivatives(output)(point, moved)
        true = all_derivatives(by_hand(weigh, queries))(point, moved)
    for name, value in true.items():
        given = found[name]
        if not learned and name != "value" and name != "forward":
            given, value = given[1:], value[1:]
        jax.tree.map(
            lambda a, b, name=name: np.testing.assert_allclose(a, b, rtol=0, atol=1e-11, err_msg=name),
            given,
            value,
        )


@pytest.mark.parametrize(("name", "queries", "keys"), [("split", 9, 9), ("dense", 9, 9), ("blockwise", 5, 9)])
def test_a_bias_that_is_nan_where_masked(name, queries, keys):
    compare(LogDistance(), "softmax", queries, keys, HOW[name])


def test_a_bias_that_is_nan_where_masked_with_a_threshold():
    compare(LogDistance(), "sparsemax", 9, 9, HOW["blockwise"])


@pytest.mark.parametrize("name", ["reference", "blockwise"])
def test_a_learned_strength_of_such_a_bias(name):
    compare(LearnedLogDistance(), "softmax", 9, 9, HOW[name])


def gradients(variant, learned, **how):
    def total(params, *arrays):
        return jnp.sum(jnp.sin(forms.attend(variant, params, *arrays, **how).output))

    position = ({"strength": jnp.array([-0.5, 0.3])},) if learned else ()
    return jax.jit(jax.grad(total, (0, 1, 2, 3)))(Parts({}, {}, position), *draw(9, 9, 0))


@pytest.mark.parametrize("kind", WEIGH)
@pytest.mark.parametrize("position", [Turned(), AfterTheScore()], ids=lambda part: type(part).__name__)
def test_other_ways_to_write_it(position, kind):
    one, other = (
        Attention(position=(part,), normalizer=WEIGH[kind][0], mask=Causal())
        for part in (position, LearnedLogDistance())
    )
    with jax.enable_x64(True):
        found, true = gradients(one, True, block=(4, 4)), gradients(other, True, implementation="reference")
    chex.assert_trees_all_close(found, true, rtol=0, atol=1e-11)


def test_a_score_of_pairs_that_divides_by_zero_where_masked():
    """The width of a head is that of a block, so that shapes cannot tell pairs from queries."""
    variant, plain = (Attention(score=score, mask=Causal()) for score in (InPairs(), Dot()))
    with jax.enable_x64(True):
        found, true = gradients(variant, False, block=(DIM, DIM)), gradients(plain, False)
    chex.assert_trees_all_close(found, true, rtol=0, atol=1e-11)


def test_nothing_is_added_to_a_function_that_is_finite_everywhere():
    assert on_allowed(float, None, (SHARED,)) is float
    keep = jnp.tril(jnp.ones((4, 5), bool))

    def program(function):
        return str(
            jax.make_jaxpr(lambda i, j: on_allowed(function, keep, (QUERY, KEY))(i, j))(keep[:, 0], keep[0])
        )

    assert "argmax" not in program(lambda i, j: jnp.tanh(i[:, None] * 2.0 - j) / 8)
    assert "argmax" in program(lambda i, j: jnp.log(i[:, None] * 2.0 - j))


@pytest.mark.parametrize("result", [jnp.zeros(2), "a", jnp.zeros((3, 5, 1))])
def test_a_result_that_is_not_of_pairs_names_the_function(result):
    def bias(p, q, k, i, j):
        return result

    place = f"{__file__}:{bias.__code__.co_firstlineno}: bias gave"
    rows, columns = jnp.zeros((3, 2)), jnp.zeros((5, 2))
    with pytest.raises(ValueError, match=place):
        expect_pairs(bias, result, (3, 5))
    with pytest.raises(ValueError, match=place):
        keep = jnp.ones((3, 5), bool)
        on_allowed(bias, keep, OF_TOKENS)({}, rows, columns, rows[:, 0], columns[:, 0])
