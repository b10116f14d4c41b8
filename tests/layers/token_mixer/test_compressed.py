"""Heavily compressed and compressed sparse attention against the paper's equations, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layers.token_mixer.setting import DIM, HEADS, apart, decoded, looked, made, number, tokens
from oracles import layers, sparse

from attnkit import forms
from attnkit.layers.compression import pooled
from attnkit.layers.token_mixer.compressed_sparse import CompressedSparse, best
from attnkit.layers.token_mixer.heavily_compressed import HeavilyCompressed, joined
from attnkit.masks.contract import Data

pytestmark = pytest.mark.one_python

GROUPS, COUNT, HEAD_DIM = 3, 13, DIM // HEADS
HEAVY = HeavilyCompressed(size=5, window_size=3, fraction=0.5)
SPARSE = CompressedSparse(
    size=3, count=2, window_size=2, fraction=0.5, index_heads=3, index_dim=8, penalty=0.5
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def turned(row, at):
    half = len(row) // 2
    return np.concatenate([layers.rotated(row[:half], at), row[half:]])


def normed(row, gain=1.0):
    return row / np.sqrt(np.mean(row**2) + 1e-6) * gain


def entries(part, x, size, overlap):
    """All whole entries of one compression, `[heads][runs]`."""
    streams = 2 if overlap else 1
    rows = [layers.split(x @ number(a.kernel), streams * part.heads) for a in (part.candidate, part.logit)]
    place, out = number(part.place), []
    for head in range(part.heads):
        made = []
        for run in range(len(x) // size):

            def of(stream, run, head=head):
                at = slice(run * size, (run + 1) * size)
                c, z = (a[stream * part.heads + head][at] for a in rows)
                b = place[head][size:] if overlap and stream == 0 else place[head][:size]
                return c, z, b

            before = of(1, run - 1) if overlap and run else None
            row = normed(sparse.entry(of(0, run), before), number(part.norm.scale))
            made.append(turned(row, run * size))
        out.append(made)
    return out


def expected(layer, config, x):
    """Output, weights of entries and of tokens, the chosen entries, and the penalty, of one sequence."""
    chooses = isinstance(config, CompressedSparse)
    q = layers.split(x @ number(layer.query.kernel), HEADS)
    k = layers.split(x @ number(layer.key_value.kernel), GROUPS)
    far = entries(layer.compressions[0], x, config.size, chooses)
    weights, heads = (
        np.zeros((HEADS, COUNT, COUNT // config.size + COUNT)),
        np.zeros((HEADS, COUNT, HEAD_DIM)),
    )
    sink, choices, penalty = number(layer.near.parts["normalizer"]["sink"]), [], 0.0
    if chooses:
        keys = entries(layer.compressions[1], x, config.size, True)[0]
        index_q = layers.split(x @ number(layer.index_query.kernel), 3)
        index_w = x @ number(layer.index_weight.kernel)
    for t in range(COUNT):
        whole = (t + 1) // config.size
        seen = list(range(whole))
        if chooses:
            rows = np.stack([turned(row[t], t) for row in index_q])
            index, seen = sparse.best_entries(rows, index_w[t], keys, whole, config.count)
        choices.append(seen)
        near = list(range(max(0, t + 1 - config.window_size), t + 1))
        for h in range(HEADS):
            own = h * GROUPS // HEADS
            tokens = [turned(normed(k[own][s], number(layer.norm.scale)), s) for s in near]
            both = [*(far[own][s] for s in seen), *tokens]
            w = sparse.with_sink(turned(normed(q[h][t]), t), both, sink[h])
            weights[h, t, [*seen, *(COUNT // config.size + s for s in near)]] = w
            heads[h, t] = turned(w @ np.array(both), -t)
        if chooses and seen:
            p = weights[:, t, seen].sum(axis=0)
            penalty -= p / p.sum() @ np.log(sparse.softmax([index[s] for s in seen])) / COUNT
    y = np.concatenate(list(heads), axis=1) @ number(layer.output.kernel)
    return y, weights, choices, penalty


@pytest.mark.parametrize("config", [HEAVY, SPARSE], ids=["heavily_compressed", "compressed_sparse"])
def test_equations_and_decoding_in_pieces(config):
    layer, x = made(config, GROUPS), tokens(count=COUNT)
    y, shown = looked(layer, x)
    for b in range(2):
        right, weights, choices, _ = expected(layer, config, x[b])
        assert apart(y[b], right) < 1e-12
        assert apart(shown[b], weights) < 1e-12
        if config is SPARSE:
            assert any(len(seen) < (t + 1) // 3 for t, seen in enumerate(choices))  # some are left out
            assert len({tuple(seen) for seen in choices}) > 4
    steps = decoded([layer], x, pieces=(1, 1, 1, 5, 5))
    assert apart(steps, x + y) < 1e-12


def test_by_hand():
    # Two tokens with logits 0 and log 3: 1/4 and 3/4 of them.
    c, z = jnp.array([[1.0, 4.0], [3.0, 8.0]]), jnp.array([[0.0, jnp.log(3.0)], [jnp.log(3.0), 0.0]])
    np.testing.assert_allclose(pooled(c, z), [2.5, 5.0], rtol=1e-15)
    # Of three whole entries two are seen, of equal ones the earlier; the fourth is not whole.
    index = jnp.array([[[0.1, 0.5, 0.5, 0.9], [0.5, 0.1, 0.5, 0.9], [0.2, 0.3, 0.4, 0.9]]])
    marks = best(index, jnp.array([[3, 3, 1]]), 2)[0].tolist()
    assert marks == [[False, True, True, False], [True, False, True, False], [True, False, False, False]]
    # Sums of exponentials 1 and 3: a quarter of the weight is that of the entries.
    far, near = (
        forms.AttentionOutput(jnp.full((1, 1, 1, 1), v), jnp.log(jnp.full((1, 1, 1), total)))
        for v, total in ((8.0, 1.0), (4.0, 3.0))
    )
    output, shares = joined([far, near])
    assert abs(float(output[0, 0, 0, 0]) - 5.0) < 1e-14
    np.testing.assert_allclose([float(a[0, 0, 0]) for a in shares], [0.25, 0.75], rtol=1e-14)


def test_the_penalty_moves_the_index_and_nothing_else():
    layer, x = made(SPARSE, GROUPS), tokens(count=COUNT, batch=1)
    graph, params = nnx.split(layer)

    def asked(params, x, count):
        data = Data(scalar={"length": jnp.array([count])})
        return nnx.merge(graph, params).with_carry(x, carry={}, data=data)[1]["penalty"].sum()

    run = jax.jit(jax.value_and_grad(asked, argnums=(0, 1)))
    value, (grads, by_token) = run(params, jnp.asarray(x), COUNT)
    assert abs(float(value) - 0.5 * expected(layer, SPARSE, x[0])[3]) < 1e-12
    assert not np.any(by_token)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        name = jax.tree_util.keystr(path)
        assert np.any(grad) == ("index" in name or "['compressions'][1]" in name), name
    # Tokens that do not exist ask for nothing.
    other = x.copy()
    other[:, 7:] += 1
    assert (
        abs(float(run(params, jnp.asarray(other), 7)[0]) - float(run(params, jnp.asarray(x), 7)[0])) < 1e-14
    )


def test_refusals():
    with pytest.raises(ValueError, match=r"head_dim \* fraction = 4 \* 0.125: 0 features turn"):
        made(HeavilyCompressed(), GROUPS)
    with pytest.raises(ValueError, match=r"index_dim \* fraction = 4 \* 0.25: 1 features turn"):
        CompressedSparse(fraction=0.25, index_dim=4)
    with pytest.raises(ValueError, match="cross-attention"):
        made(HEAVY, GROUPS, cross=True)
