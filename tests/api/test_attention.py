"""`ak.attend`, `ak.recurrent` and decoding: hand-worked numbers, jax.nn, leading axes, layouts, functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnkit as ak
from attnkit.api.recurrence import recurrent

pytestmark = pytest.mark.one_python

HEADS, QUERIES, KEYS, DIM, WIDTH = 6, 5, 7, 8, 3


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def arrays(*leading, kv_heads=HEADS, queries=KEYS):
    return (
        normal(*leading, HEADS, queries, DIM),
        normal(*leading, kv_heads, KEYS, DIM, seed=1),
        normal(*leading, kv_heads, KEYS, WIDTH, seed=2),
    )


def close(a, b, atol=2e-6):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=atol, rtol=0)


def test_numbers_by_hand():
    # Scores are q k / sqrt(1) - distance / 256: the last query weighs its keys 1 : 3 e^(1/256).
    q, k = jnp.ones((1, 2, 1)), jnp.array([[[0.0], [np.log(3)]]])
    v = jnp.array([[[0.0], [1.0]]])
    found = ak.attend(q, k, v, ak.Attention(position=ak.Alibi(), mask=ak.Causal()))
    share = 3 / (3 + np.exp(-1 / 256))
    close(found.output, [[[0.0], [share]]], 1e-6)
    close(found[1], [[0.0, np.log(3 + np.exp(-1 / 256))]], 1e-6)
    close(
        ak.weights(q, k, ak.Attention(position=ak.Alibi(), mask=ak.Causal())), [[[1, 0], [1 - share, share]]]
    )


@pytest.mark.parametrize("kv_heads", [HEADS, 2])
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_default_is_that_of_jax_nn_in_both_layouts(leading, kv_heads):
    q, k, v = arrays(*leading, kv_heads=kv_heads)
    swapped = [jnp.swapaxes(a, -3, -2) for a in (q, k, v)]
    # jax.nn wants values as wide as keys.
    wide = [jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, DIM - a.shape[-1])]) for a in swapped]
    for causal in (False, True):
        dense = functools.partial(jax.nn.dot_product_attention, is_causal=causal)
        for _ in leading[1:]:
            dense = jax.vmap(dense)
        expected = dense(*wide)[..., :WIDTH]
        attend = functools.partial(ak.attend, variant=ak.Attention(mask=ak.Causal()) if causal else None)
        thd = jax.jit(functools.partial(attend, layout="thd"))(*swapped)
        close(thd.output, expected)
        htd = jax.jit(attend)(q, k, v)
        close(jnp.swapaxes(htd.output, -3, -2), expected)
        close(jnp.swapaxes(htd[1], -2, -1), thd[1])


def test_a_variant_with_parameters_needs_them():
    q, k, v = arrays()
    variant = ak.Attention(position=ak.T5Buckets(), mask=ak.Causal())
    with pytest.raises(ValueError, match=r"params = None: .*ak\.init\(variant, key, heads=6, dim=8\)"):
        ak.attend(q, k, v, variant)
    params = ak.init(variant, jax.random.key(3), heads=HEADS, dim=DIM, value_dim=WIDTH)
    zero = jax.tree.map(jnp.zeros_like, params)
    close(ak.attend(q, k, v, variant, zero).output, ak.attend(q, k, v, ak.Attention(mask=ak.Causal())).output)
    grown = jax.grad(lambda p: jnp.sum(ak.attend(q, k, v, variant, p).output ** 2))(params)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(grown))


def test_one_part_or_a_list_stands_for_a_tuple():
    alone = ak.Attention(position=ak.Alibi())
    assert alone == ak.Attention(position=(ak.Alibi(),)) == ak.Attention(position=[ak.Alibi()])
    assert hash(alone) == hash(ak.Attention(position=(ak.Alibi(),)))
    with pytest.raises(ValueError, match="position"):
        ak.Attention(position=[ak.Causal()])


@pytest.mark.parametrize("layout", ["htd", "thd"])
def test_decoding_with_leading_axes(layout):
    variant = ak.Attention(position=(ak.Rotary(), ak.Alibi()), mask=ak.Causal())
    q, k, v = (a if layout == "htd" else jnp.swapaxes(a, -3, -2) for a in arrays(2, 3, kv_heads=2))
    axis = -2 if layout == "htd" else -3
    full = jax.jit(functools.partial(ak.attend, variant=variant, layout=layout))(q, k, v)
    cache = ak.init_cache(
        variant, 9, heads=HEADS, kv_heads=2, dim=DIM, value_dim=WIDTH, leading=(2, 3), dtype=jnp.float32
    )

    @jax.jit
    def read(cache, q, k, v):
        cache = ak.extend(cache, k, v, variant, layout=layout)
        return cache, ak.step(q, cache, variant, layout=layout).output

    pieces = []
    for a, b in ((0, 4), (4, 5), (5, 7)):
        cache, output = read(cache, *(jax.lax.slice_in_dim(x, a, b, axis=axis) for x in (q, k, v)))
        pieces.append(output)
    close(jnp.concatenate(pieces, axis), full.output)


def dense(q, k, v, change, keep):
    scores = change(q @ jnp.swapaxes(k, -1, -2) * DIM**-0.5)
    return jax.nn.softmax(jnp.where(keep, scores, -jnp.inf)) @ v


SEGMENT = jnp.array([0, 0, 0, 1, 1, 1, 1])
KEEP = (jnp.arange(KEYS)[:, None] >= jnp.arange(KEYS)) & (SEGMENT[:, None] == SEGMENT)


@pytest.mark.parametrize("implementation", [{}, {"block": (4, 2)}, {"implementation": "reference"}])
@pytest.mark.parametrize("jitted", [False, True])
def test_functions_may_close_over_traced_arrays(implementation, jitted):
    q, k, v = arrays(2)
    scale, table = normal(HEADS, seed=3), normal(HEADS, KEYS, KEYS, seed=4)

    def ours(scale, table, segment):
        score = ak.from_score_mod(lambda s, head, i, j: s * scale[head] + table[head, i, j])
        mask = ak.from_mask_mod(lambda head, i, j: (segment[i] == segment[j]) & (i >= j))
        variant = ak.Attention(position=score, mask=mask)
        return jnp.sum(ak.attend(q, k, v, variant, **implementation).output ** 2)

    def theirs(scale, table):
        return jnp.sum(dense(q, k, v, lambda s: s * scale[:, None, None] + table, KEEP) ** 2)

    of = jax.jit if jitted else lambda function: function
    expected = jax.value_and_grad(theirs, (0, 1))(scale, table)
    found = of(jax.value_and_grad(ours, (0, 1)))(scale, table, SEGMENT)
    jax.tree.map(lambda a, b: close(a, b, 1e-4), found, expected)


def test_functions_with_concrete_arrays_work_in_every_place():
    q, k, v = arrays()
    table = normal(HEADS, KEYS, KEYS, seed=4)
    score = ak.from_score_mod(lambda s, head, i, j: jnp.tanh(s) + table[head, i, j])
    mask = ak.from_mask_mod(lambda head, i, j: SEGMENT[i] == SEGMENT[j]) & ak.Causal()
    variant = ak.Attention(position=(score, ak.Alibi()), mask=mask)
    full = ak.attend(q, k, v, ak.Attention(position=score, mask=mask)).output
    close(full, dense(q, k, v, lambda s: jnp.tanh(s) + table, KEEP))
    cache = ak.extend(ak.init_cache(variant, KEYS, heads=HEADS, dim=DIM, value_dim=WIDTH), k, v, variant)
    close(ak.step(q[:, -2:], cache, variant).output, ak.attend(q, k, v, variant).output[:, -2:])
    assert ak.check(variant, level="brief").ok


def test_second_derivatives_reach_closed_over_arrays():
    q, k, v = arrays()

    def ours(t):
        score = ak.from_score_mod(lambda s, head, i, j: s * t)
        return jnp.sum(ak.attend(q, k, v, ak.Attention(position=score), block=(4, 4)).output ** 2)

    def theirs(t):
        return jnp.sum(dense(q, k, v, lambda s: s * t, True) ** 2)

    close(jax.grad(jax.grad(ours))(0.7), jax.grad(jax.grad(theirs))(0.7), 1e-3)


def test_recurrent_numbers_by_hand():
    # With k = q = 1 the state is the sum of the values.
    ones, v = jnp.ones((2, 1, 3, 1)), jnp.array([1.0, 2.0, 4.0])[:, None] * jnp.ones((2, 1, 3, 1))
    variant = ak.Linear(feature=ak.Identity(), normalizer=False)
    found = recurrent({"q": ones, "k": ones, "v": v}, variant)
    close(found.output[1, 0, :, 0], [1.0, 3.0, 7.0])
    more = recurrent({"q": ones[:, :, :1], "k": ones[:, :, :1], "v": v[:, :, :1]}, variant, state=found.state)
    close(more.output.ravel(), [8.0, 8.0])


@pytest.mark.parametrize("implementation", ["scan", "chunked", "matrix"])
def test_recurrent_layouts_and_forms_agree(implementation):
    variant = ak.DeltaNet()
    widths = {"q": DIM, "k": DIM, "v": WIDTH, "beta": 1}
    inputs = {name: normal(2, HEADS, 11, width, seed=n) for n, (name, width) in enumerate(widths.items())}
    run = functools.partial(recurrent, variant=variant)
    found = jax.jit(functools.partial(run, implementation=implementation))(inputs).output
    swapped = {name: jnp.swapaxes(a, 1, 2) for name, a in inputs.items()}
    close(jnp.swapaxes(jax.jit(functools.partial(run, layout="thd"))(swapped).output, 1, 2), found, 1e-4)
    assert found.shape == (2, HEADS, 11, WIDTH)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda q, k, v: ak.attend(q, k, v, ak.Gla()), TypeError, "recurrent variants go to ak.recurrent"),
        (lambda q, k, v: ak.attend(q[0], k, v), ValueError, "equal leading axes|layout"),
        (lambda q, k, v: ak.attend(q, k, v, layout="bthd"), ValueError, "layout = 'bthd'"),
        (lambda q, k, v: ak.attend(q[None], k[None], v[None, :, :, :], data={"x": q}), ValueError, "'x'"),
        (lambda q, k, v: ak.from_score_mod(lambda s, head, i, j: jnp.ones(3) * s), TypeError, "one scalar"),
        (lambda q, k, v: recurrent({"q": q, "v": v}, ak.Attention()), TypeError, "a recurrent variant"),
        (lambda q, k, v: ak.Attentoin(), AttributeError, "no Attentoin"),
    ],
)
def test_errors_say_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call(*arrays())
