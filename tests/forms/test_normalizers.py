"""Every normalizer, in the definition and by blocks, against loops; derivatives against differences."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import rows

from attnkit.forms import attend
from attnkit.masks.causal import Causal
from attnkit.scored.contract import Parts
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.scored.normalizer.gelu import Gelu
from attnkit.scored.normalizer.hard import Hard
from attnkit.scored.normalizer.relu import Relu
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.normalizer.softmax_one import SoftmaxOne
from attnkit.scored.normalizer.softpick import Softpick
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.normalizer.top_k import TopK
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

HEADS, KV_HEADS, TOKENS, DIM, VALUE_DIM = 2, 1, 11, 3, 5
CASES = {
    "softmax": (Softmax(), rows.softmax),
    "softmax_one": (SoftmaxOne(), lambda s: rows.softmax(s, 1.0)),
    "sink": (Sink(start=0.7), lambda s: rows.softmax(s, math.exp(0.7))),
    "sigmoid": (Sigmoid(), lambda s: rows.sigmoid(s, -math.log(len(s)))),
    "sigmoid_bias": (Sigmoid(bias=-1.5), lambda s: rows.sigmoid(s, -1.5)),
    "relu": (Relu(power=2), lambda s: rows.relu(s, 2)),
    "gelu": (Gelu(), rows.gelu),
    "entmax": (Entmax(alpha=1.5), lambda s: rows.entmax(s, 1.5)),
    "entmax_learned": (Entmax(alpha=1.3, learned=True), lambda s: rows.entmax(s, 1.3)),
    "sparsemax": (Sparsemax(), lambda s: rows.entmax(s, 2.0)),
    "softpick": (Softpick(), rows.softpick),
    "top_k": (TopK(k=3), lambda s: rows.top_k(s, 3)),
    "hard": (Hard(), rows.hard),
    "stick_breaking": (StickBreaking(), rows.stick_breaking),
}


def draw(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "q": 2 * jax.random.normal(keys[0], (HEADS, TOKENS, DIM)),
        "k": jax.random.normal(keys[1], (KV_HEADS, TOKENS, DIM)),
        "v": jax.random.normal(keys[2], (KV_HEADS, TOKENS, VALUE_DIM)),
    }


def by_loops(weigh, arrays):
    """Strictly causal, so that the first row is empty."""
    q, k, v = (np.asarray(arrays[name], np.float64) for name in ("q", "k", "v"))
    output = np.zeros((HEADS, TOKENS, VALUE_DIM))
    for h in range(HEADS):
        for i in range(1, TOKENS):
            weights = weigh([float(q[h, i] @ k[0, j]) / math.sqrt(DIM) for j in range(i)])
            output[h, i] = sum(w * v[0, j] for j, w in enumerate(weights))
    return output


def derivatives(scored, form, block):
    """Output, lse, gradient, forward derivative and Hessian-vector product, in one program."""

    def values(params, arrays):
        q, k, v = (arrays[name] for name in ("q", "k", "v"))
        result = attend(scored, params, q, k, v, implementation=form, block=block)
        return result.output, jnp.where(jnp.isfinite(result.lse), result.lse, 0)

    def total(point):
        output, lse = values(*point)
        return jnp.sum(jnp.sin(output)) + jnp.sum(jnp.cos(lse))

    def run(point, moved):
        gradient, curved = jax.jvp(jax.grad(total), (point,), (moved,))
        return values(*point), jax.jvp(total, (point,), (moved,))[1], gradient, curved

    return jax.jit(run)


ALIKE = ("softmax_one", "sigmoid_bias", "relu", "gelu", "entmax", "sparsemax", "hard")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in CASES]
)
def test_definition_and_blocks_agree_with_loops_to_the_second_derivative(name):
    normalizer, weigh = CASES[name]
    scored = Attention(normalizer=normalizer, mask=Causal(offset=-1)).scored()
    with jax.enable_x64(True):
        params = scored.init(jax.random.key(5), HeadShape(HEADS, DIM, VALUE_DIM, KV_HEADS))
        point = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, draw(0)))
        moved = jax.tree.map(lambda a: jax.random.normal(jax.random.key(7), a.shape, jnp.float64), point)
        reference = derivatives(scored, "reference", None)(point, moved)
        blocked = derivatives(scored, "blockwise", (3, 5))(point, moved)
        expected = by_loops(weigh, point[1])
    np.testing.assert_allclose(reference[0][0], expected, rtol=0, atol=2e-12)
    np.testing.assert_allclose(blocked[0][0], expected, rtol=0, atol=2e-12)
    chex.assert_trees_all_close(blocked, reference, rtol=1e-10, atol=1e-10)
    slope = sum(
        np.sum(np.asarray(g) * np.asarray(d))
        for g, d in zip(jax.tree.leaves(reference[2]), jax.tree.leaves(moved), strict=True)
    )
    np.testing.assert_allclose(slope, reference[1], rtol=1e-10)
    if name != "hard":  # its derivative is an estimate, not the slope of its output
        assert_slope(scored, point, moved, float(reference[1]))


def assert_slope(scored, point, moved, slope, step=1e-6):
    """Central differences of the definition agree with its derivative."""
    with jax.enable_x64(True):

        def total(by):
            params, arrays = jax.tree.map(lambda a, d: a + by * d, point, moved)
            result = attend(scored, params, arrays["q"], arrays["k"], arrays["v"], implementation="reference")
            lse = np.where(np.isfinite(result.lse), result.lse, 0)
            return float(np.sum(np.sin(result.output)) + np.sum(np.cos(lse)))

        numeric = (total(step) - total(-step)) / (2 * step)
    np.testing.assert_allclose(slope, numeric, rtol=1e-6, atol=1e-7)


def test_top_k_takes_the_earlier_of_equal_keys():
    k = np.zeros((1, 5, 2), np.float32)
    v = np.eye(5, dtype=np.float32)[None]
    scored = Attention(normalizer=TopK(k=2)).scored()
    for block in (None, (1, 2)):
        output = attend(scored, None, np.ones((1, 1, 2), np.float32), k, v, block=block).output
        np.testing.assert_allclose(output[0, 0], [0.5, 0.5, 0, 0, 0], atol=1e-6)


def test_a_row_that_cannot_look_has_weight_zero_but_the_sink_keeps_its_lse():
    q = k = v = np.ones((1, 2, 3), np.float32)
    scored = Attention(normalizer=Sink(), mask=Causal(offset=-1)).scored()
    result = attend(scored, Parts({}, {"sink": np.array([2.5], np.float32)}), q, k, v)
    np.testing.assert_array_equal(result.output[0, 0], np.zeros(3))
    np.testing.assert_allclose(result.lse[0, 0], 2.5)
