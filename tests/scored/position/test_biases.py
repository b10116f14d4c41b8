import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.relative import skewed

from attnkit.scored.contract import PartParams
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.data_dependent_alibi import DataDependentAlibi
from attnkit.scored.position.fire import Fire
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.kerple_log import KerpleLog
from attnkit.scored.position.kerple_power import KerplePower
from attnkit.scored.position.music_transformer import MusicTransformer
from attnkit.scored.position.shaw import Shaw
from attnkit.scored.position.t5_buckets import T5Buckets
from attnkit.scored.position.transformer_xl import TransformerXl
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

SLOPE = 0.75


def bias(part, p, i, j, q=None, k=None):
    """The bias of queries at positions `i` and keys at positions `j`; rows of ones unless given."""
    p = p if isinstance(p, PartParams) else PartParams({name: jnp.array(value) for name, value in p.items()})
    q = jnp.ones((len(i), 4)) if q is None else jnp.array(q)
    k = jnp.ones((len(j), 4)) if k is None else jnp.array(k)
    return np.asarray(part.bias(p, q, k, jnp.array(i), jnp.array(j)))


def alibi(i, j):
    return bias(Alibi(), {"slope": SLOPE}, i, j)


def test_alibi():
    np.testing.assert_array_equal(alibi([5], [3, 5, 7]), [[-1.5, 0, -1.5]])


def test_t5_looks_up_the_bucket_of_how_far_back_the_key_is():
    made = bias(
        T5Buckets(buckets=4, max_distance=16), {"bias": [10.0, 20, 30, 40]}, [20], [22, 20, 19, 18, 15, 14, 0]
    )
    np.testing.assert_array_equal(made, [[10, 10, 20, 30, 30, 40, 40]])


def test_two_sided_t5_has_buckets_for_keys_after_the_query():
    part = T5Buckets(buckets=8, max_distance=16, two_sided=True)
    made = bias(part, {"bias": np.arange(8.0)}, [20], [99, 22, 21, 20, 19, 18, 0])
    np.testing.assert_array_equal(made, [[7, 6, 5, 0, 1, 2, 3]])


def test_t5_with_a_linear_table_is_alibi_within_the_exact_buckets():
    i, j = np.arange(8), np.arange(8)
    made = bias(T5Buckets(buckets=16, max_distance=64), {"bias": -SLOPE * np.arange(16)}, i, j)
    back = i[:, None] >= j
    np.testing.assert_array_equal(np.where(back, made, 0), np.where(back, alibi(i, j), 0))


def test_t5_refuses_a_reach_within_the_exact_buckets():
    with pytest.raises(ValueError, match="max_distance = 16 must be greater than 16"):
        T5Buckets(buckets=32, max_distance=16)


def test_shaw_compares_the_query_with_the_vector_of_the_distance():
    p = {"key": [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}
    made = bias(Shaw(max_distance=1), p, [5], [2, 4, 5, 6, 9], q=[[2.0, 4, 6, 8]])
    np.testing.assert_array_equal(made, [[1, 1, 2, 3, 3]])  # by the root of 4


def test_shaw_adds_the_vector_of_the_distance_to_each_value():
    p = PartParams({"value": jnp.array([[1.0, 2], [10, 20], [100, 200]])})
    w, i, j = jnp.array([[0.5, 0.25, 0.125, 0.125]]), jnp.array([1]), jnp.arange(4)
    made = Shaw(max_distance=1).value(p, w, i, j)
    # 0.5 * 1 + 0.25 * 10 + (0.125 + 0.125) * 100
    np.testing.assert_array_equal(made, [[28.0, 56.0]])


def test_music_transformer_equals_skewing():
    q, vectors = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
    made = bias(MusicTransformer(max_distance=6), {"distance": vectors}, range(7), range(7), q=q)
    lower = np.tri(7, dtype=bool)
    np.testing.assert_allclose(made[lower], skewed(q, vectors)[lower] / 2, rtol=1e-5)


def test_music_transformer_is_shaw_without_values_for_keys_not_after_the_query():
    q, back = np.random.default_rng(0).normal(size=(2, 7, 4))
    shaw = {"key": np.concatenate([back[:4], np.zeros((3, 4))])}
    music = bias(MusicTransformer(max_distance=3), {"distance": back[:4]}, range(7), range(7), q=q)
    lower = np.tri(7, dtype=bool)
    np.testing.assert_array_equal(
        music[lower], bias(Shaw(max_distance=3), shaw, range(7), range(7), q=q)[lower]
    )


def test_transformer_xl_adds_content_and_place_under_the_scale():
    p = {
        "content": [1.0, 2, 0, 0],
        "place": [0.0, 0, 3, 0],
        "project": np.array([[0.0, 0], [0, 0], [0, 2], [5, 0]]),
    }
    # At distance 0 the sinusoids are (0, 1), which the projection makes (0, 0, 2, 0).
    made = bias(TransformerXl(width=2), p, [3], [3], q=[[0.0, 0, 1, 0]], k=[[4.0, 5, 0, 0]])
    np.testing.assert_allclose(made, [[((1 + 3) * 2 + 14) / 2]])
    # At distance 1, (sin 1, cos 1) becomes (0, 0, 2 cos 1, 5 sin 1); at distance -1 the sine changes sign.
    made = bias(TransformerXl(width=2), p, [3], [2, 4], q=[[0.0, 0, 0, 1]], k=np.zeros((2, 4)))
    expected = [(6 * math.cos(1) + 5 * sign * math.sin(1)) / 2 for sign in (1, -1)]
    np.testing.assert_allclose(made, [expected], rtol=1e-5)


def test_kerple_log():
    made = bias(KerpleLog(), {"log_r1": math.log(3), "log_r2": math.log(2)}, [5], [5, 4, 9])
    np.testing.assert_allclose(made, [[0, -3 * math.log(3), -3 * math.log(9)]], rtol=1e-6)


def test_kerple_power_with_power_one_is_alibi():
    made = bias(KerplePower(), {"log_r1": math.log(SLOPE), "logit_r2": 0.0}, [5], range(11))
    np.testing.assert_allclose(made, alibi([5], range(11)), rtol=1e-6)


def test_kerple_power_has_finite_derivatives_at_distance_zero():
    def total(p):
        rows, at = jnp.ones((1, 4)), jnp.array([5])
        return jnp.sum(KerplePower().bias(PartParams(p), rows, rows, at, at))

    p = {"log_r1": jnp.array(0.5), "logit_r2": jnp.array(-0.5)}
    assert jax.tree.leaves(jax.grad(total)(p)) == [0, 0]


def test_fire_takes_the_share_of_the_position_or_of_the_threshold():
    p = {"c": 1.0, "threshold": 0.5, "into": [1.0, -1], "bias": [0.0, 0.25], "out": [2.0, 8]}
    # Query 7: log 2 / log 8 = 1 / 3 of the way; query 1 is below the threshold 3: log 2 / log 4 = 1 / 2.
    made = bias(Fire(hidden=2, length=6.0), p, [7, 1], [6, 0])
    assert made[0, 0] == pytest.approx(2 / 3)
    assert made[1, 1] == pytest.approx(1.0)
    # At distance 0 only the second unit fires: 8 * 0.25.
    assert bias(Fire(hidden=2, length=6.0), p, [7], [7]).item() == pytest.approx(2.0)


def gates(part, raw):
    """Inputs of both sides made of equal gates before the sigmoid, as the engine prepares them."""
    summed = jnp.cumsum(part.activate("gate", jnp.full((9, 1), raw)), axis=0)
    inputs = dict.fromkeys(part.inputs(HeadShape(1, 4, 4)), summed)
    return PartParams({}, query=inputs, key=inputs)


def test_fox_with_gates_at_zero_loses_log_two_a_token():
    made = bias(Fox(), gates(Fox(), 0.0), range(9), range(9))
    np.testing.assert_allclose(made[7, :8], -math.log(2) * np.arange(7, -1, -1), rtol=1e-5)


def test_fox_counts_the_gate_of_the_query_and_not_that_of_the_key():
    summed = jnp.cumsum(jnp.array([[-1.0], [-10], [-100], [-1000]]), axis=0)
    made = bias(Fox(), PartParams({}, query={"gate": summed}, key={"gate": summed}), range(4), range(4))
    np.testing.assert_array_equal(made[3], [-1110, -1100, -1000, 0])


def test_gates_that_do_not_depend_on_the_token_are_alibi():
    raw = -math.log(math.exp(SLOPE) - 1)  # log sigmoid(raw) = -SLOPE
    i = np.arange(9)
    both = bias(DataDependentAlibi(), gates(DataDependentAlibi(), raw), i, i)
    np.testing.assert_allclose(both, alibi(i, i), rtol=1e-5)
    back = np.where(i[:, None] >= i, bias(Fox(), gates(Fox(), raw), i, i), 0)
    np.testing.assert_allclose(back, np.tril(alibi(i, i)), rtol=1e-5)


BIASES = [
    Alibi(),
    T5Buckets(),
    Shaw(max_distance=2),
    MusicTransformer(max_distance=2),
    TransformerXl(width=6),
    KerpleLog(),
    KerplePower(),
    Fire(hidden=2),
    Fox(),
    DataDependentAlibi(),
]


@pytest.mark.parametrize("part", BIASES, ids=lambda part: type(part).__name__)
def test_biases_of_bfloat16_rows_are_float32(part):
    shape = HeadShape(1, 4, 3)
    values = {**part.constants(shape), **part.init(jax.random.key(0), shape)}
    p = PartParams({name: jnp.float32(x)[0] for name, x in values.items()})
    if part.inputs(shape):
        p = dataclasses.replace(gates(part, jnp.bfloat16(0.5)), values=p.values)
    rows, at = jnp.ones((9, 4), jnp.bfloat16), jnp.arange(9)
    made = part.bias(p, rows, rows, at, at)
    assert (made.dtype, made.shape) == (jnp.float32, (9, 9))


@pytest.mark.parametrize("part", BIASES, ids=lambda part: type(part).__name__)
def test_parameters_have_a_leading_axis_of_heads(part):
    for x in jax.tree.leaves(part.init(jax.random.key(0), HeadShape(3, 6, 5, 1))):
        assert x.shape[0] == 3
