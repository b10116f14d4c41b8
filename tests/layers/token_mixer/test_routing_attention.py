"""Routing attention: the layer, its penalty and what the penalty moves, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layers.token_mixer.setting import (
    CAUSAL,
    DIM,
    HEADS,
    TOKENS,
    apart,
    compiled,
    decoded,
    made,
    number,
    tokens,
)
from oracles import content, layers

from attnkit.layers.token_mixer.routing_attention import RoutingAttention
from attnkit.masks.contract import Data

pytestmark = pytest.mark.one_python

SMALL = RoutingAttention(clusters=2, commitment=0.25, **CAUSAL)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loops(layer, x):
    """The output of one sequence, its squared distances to centroids, mean over heads and features."""
    q = layers.split(x @ number(layer.project.query.kernel), HEADS)
    v = np.repeat(layers.split(x @ number(layer.project.value.kernel), 3), HEADS // 3, axis=0)
    centroid, heads, distances = number(layer.engine.parts["selection"][0]["centroid"]), [], []
    for h in range(HEADS):
        mean, deviation = q[h].mean(axis=1, keepdims=True), q[h].std(axis=1, keepdims=True)
        k = (q[h] - mean) / np.sqrt(deviation**2 + 1e-6)
        rows = []
        for t in range(len(x)):
            row, near = content.routing(k[t : t + 1], k[: t + 1], v[h, : t + 1], centroid[h])
            rows.append(row[0])
        heads.append(rows)
        distances.append(((k - centroid[h][near]) ** 2).mean(axis=1))
    y = np.concatenate(np.array(heads), axis=1) @ number(layer.output_projection.output.kernel)
    return y, np.mean(distances, axis=0)


def carried(layer, x, data=None):
    return compiled([layer], lambda one, x: one[0].with_carry(x, carry={"penalty": 3.0}, data=data))(x)


def test_equations_and_penalty():
    layer, x = made(SMALL, 3, padded=True), tokens()
    y, above = carried(layer, x, Data(scalar={"length": jnp.array([TOKENS, 3])}))
    for b, length in enumerate((TOKENS, 3)):
        expected, distances = loops(layer, x[b])
        assert apart(y[b, :length], expected[:length]) < 1e-12
        assert apart(above["penalty"][b], 3 + 1.25 * distances[:length].mean()) < 1e-12


def test_the_penalty_moves_centroids_to_the_mean_of_their_tokens_and_tokens_to_their_centroid():
    layer, x = made(SMALL), jnp.asarray(tokens(batch=1))
    graph, params = nnx.split(layer)

    def asked(params):
        return nnx.merge(graph, params).with_carry(x, carry={})[1]["penalty"].sum()

    grads = jax.jit(jax.grad(asked))(params)
    pulled = number(grads["engine"]["parts"]["selection"][0]["centroid"])
    k, centroid = (
        np.asarray(layer.project.queries(x)[0]),
        number(layer.engine.parts["selection"][0]["centroid"]),
    )
    near = np.argmax(np.einsum("htd,hcd->htc", k, centroid), axis=2)
    for h in range(HEADS):
        for c in range(2):
            own = k[h, near[h] == c]
            towards = (centroid[h, c] - own).sum(axis=0) * 2 / (HEADS * TOKENS * DIM // HEADS)
            assert apart(pulled[h, c], towards) < 1e-13
    assert np.any(number(grads["project"]["query"]["kernel"]))
    assert not np.any(number(grads["project"]["value"]["kernel"]))


@pytest.mark.slow  # 4 s, all of it compiling
def test_decoding_in_pieces():
    layer, x = made(SMALL), tokens()
    whole = compiled([layer], lambda one, x: x + one[0](x))(x)
    assert apart(decoded([layer], x), whole) < 1e-12


def test_cross_attention_is_refused():
    with pytest.raises(ValueError, match="cross-attention"):
        made(SMALL, cross=True)
