"""The reference itself against loops over numbers, for a normalizer of every kind."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import rows

from attnkit.forms import attend, weights
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.preset.attention import Attention

HEADS, KV_HEADS, QUERIES, KEYS, DIM, VALUE_DIM, FIRST = 4, 2, 6, 9, 3, 5, 3
BY_ROW = {
    "softmax": (Softmax(), rows.softmax),
    "sparsemax": (Sparsemax(), lambda s: rows.entmax(s, 2.0)),
    "entmax": (Entmax(alpha=1.5), lambda s: rows.entmax(s, 1.5)),
    "stick_breaking": (StickBreaking(), rows.stick_breaking),
    "sigmoid": (Sigmoid(), lambda s: rows.sigmoid(s, -math.log(len(s)))),
}
MASKS = {
    "causal": (Causal(), lambda i, j: j <= i),
    "window": (Window(back=2, ahead=1), lambda i, j: i - 2 <= j <= i + 1),
    "with empty rows": (Causal(offset=-4), lambda i, j: j <= i - 4),
}


def draw():
    random = np.random.default_rng(0)
    sizes = ((HEADS, QUERIES, DIM), (KV_HEADS, KEYS, DIM), (KV_HEADS, KEYS, VALUE_DIM))
    return [random.normal(size=size) for size in sizes]


def score(q, k, h, a, j):
    return math.fsum(x * y for x, y in zip(q[h, a], k[h * KV_HEADS // HEADS, j], strict=True)) / math.sqrt(
        DIM
    )


def weights_by_row(weigh, allowed, q, k):
    w = np.zeros((HEADS, QUERIES, KEYS))
    for h in range(HEADS):
        for a in range(QUERIES):
            seen = [j for j in range(KEYS) if allowed(FIRST + a, j)]
            if seen:
                w[h, a, seen] = weigh([score(q, k, h, a, j) for j in seen])
    return w


def weights_by_column(allowed, q, k):
    """Each key shares itself out by a softmax over the queries that see it; then rows are divided by sums."""
    w = np.zeros((HEADS, QUERIES, KEYS))
    for h in range(HEADS):
        for j in range(KEYS):
            seen = [a for a in range(QUERIES) if allowed(FIRST + a, j)]
            if seen:
                w[h, seen, j] = rows.softmax([score(q, k, h, a, j) for a in seen])
        for a in range(QUERIES):
            w[h, a] /= w[h, a].sum() or 1
    return w


def assert_agrees(normalizer, mask, true, q, k, v):
    variant = Attention(normalizer=normalizer, mask=mask).scored()
    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (q, k, v)]
        w = weights(variant, None, *arrays[:2], offset=FIRST)
        output = attend(variant, None, *arrays, offset=FIRST, implementation="reference").output
    np.testing.assert_allclose(w, true, rtol=0, atol=1e-13)
    expected = np.zeros((HEADS, QUERIES, VALUE_DIM))
    for h in range(HEADS):
        for a in range(QUERIES):
            for j in range(KEYS):
                expected[h, a] += true[h, a, j] * v[h * KV_HEADS // HEADS, j]
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", MASKS)
@pytest.mark.parametrize("name", BY_ROW)
def test_weights_of_a_row(name, shape):
    (normalizer, weigh), (mask, allowed), (q, k, v) = BY_ROW[name], MASKS[shape], draw()
    assert_agrees(normalizer, mask, weights_by_row(weigh, allowed, q, k), q, k, v)


@pytest.mark.parametrize("shape", MASKS)
def test_weights_of_queries_that_compete(shape):
    (mask, allowed), (q, k, v) = MASKS[shape], draw()
    assert_agrees(Inverted(), mask, weights_by_column(allowed, q, k), q, k, v)
