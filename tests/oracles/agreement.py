"""Comparing a scored variant with an oracle: values in two forms, and the slope along a random direction."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from oracles.pairwise import attend

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.variant import HeadShape

HEADS, KV_HEADS, QUERIES, KEYS, VALUE_DIM, OFFSET = 3, 1, 7, 11, 5, 4


def assert_agrees(scored, oracle, dim=6, extra=None, output=None, data=None, block=(3, 5), flat=()):
    """`oracle(q, k, params, inputs, head)` gives `score(a, b)` of a head, `extra(params)` adds to values.

    Or `output(q, k, v, params, inputs, head)`, with the inputs of all heads, gives the output of a head.
    Queries are the last 7 of 11 tokens; blocks of 3 x 5 divide neither number. `flat` names arrays whose
    gradient is zero.
    """
    with jax.enable_x64(True):
        floats = draw(scored, dim, 0)
        moved, weight = draw(scored, dim, 1), draw(scored, dim, 2)["v"][0, :QUERIES]
        value, reference, slope, gradient = program(scored, data, block)(floats, moved, weight)
        expected = by_loops(scored, oracle, extra, output, floats)
        size = np.abs(expected).max()
        np.testing.assert_allclose(reference, expected, rtol=0, atol=1e-12 * size)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12 * size)
        step = 1e-5
        ahead, behind = (
            by_loops(scored, oracle, extra, output, jax.tree.map(lambda x, d, s=s: x + s * d, floats, moved))
            for s in (step, -step)
        )
        numeric = np.sum((ahead - behind) / (2 * step) * np.asarray(weight))
        np.testing.assert_allclose(slope, numeric, rtol=1e-7)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            name = jax.tree_util.keystr(path)
            assert np.all(np.isfinite(leaf)), name
            assert np.any(np.abs(leaf) > 1e-9) != (name in flat), f"the gradient of {name} is (not) zero"


def draw(scored, dim, seed):
    """Arrays of every kind that the variant takes: standard normal, parameters around their start."""
    shape = HeadShape(HEADS, dim, VALUE_DIM, KV_HEADS)
    keys = jax.random.split(jax.random.key(seed), 6)
    params = scored.init(keys[0], shape)
    leaves, tree = jax.tree.flatten(params)
    noise = [
        0.3 * jax.random.normal(k, x.shape)
        for k, x in zip(jax.random.split(keys[1], len(leaves)), leaves, strict=True)
    ]
    params = jax.tree.unflatten(tree, [x + n for x, n in zip(leaves, noise, strict=True)])
    count = {"query": QUERIES, "key": KEYS, "both": KEYS}
    number = itertools.count()

    def tokens(need):
        size = (1 if need.shared else HEADS, count[need.side], need.width)
        return jax.random.normal(keys[2], size) + next(number)

    inputs = jax.tree.map(tokens, scored.inputs(shape))
    return {
        "params": params,
        "inputs": inputs,
        "q": jax.random.normal(keys[3], (HEADS, QUERIES, dim)),
        "k": jax.random.normal(keys[4], (KV_HEADS, KEYS, dim)),
        "v": jax.random.normal(keys[5], (KV_HEADS, KEYS, VALUE_DIM)),
    }


def program(scored, data, block):
    """Blockwise and reference values, and the slope along `moved` of the blockwise one and its gradient."""

    def run(floats, moved, weight):
        def call(floats, **how):
            f = floats
            return forms.attend(
                scored,
                f["params"],
                f["q"],
                f["k"],
                f["v"],
                inputs=f["inputs"],
                data=data,
                offset=OFFSET,
                **how,
            ).output

        def total(floats):
            value = call(floats, block=block)
            return jnp.sum(value * weight), value

        gradient, value = jax.grad(total, has_aux=True)(floats)
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, moved)))
        return value, call(floats, implementation="reference"), slope, gradient

    return jax.jit(run)


def by_loops(scored, oracle, extra, output, floats):
    """The oracle's output of every head."""
    f = jax.tree.map(np.asarray, floats)
    causal = isinstance(scored.mask, Causal)
    heads = []
    for h in range(HEADS):
        g = h * KV_HEADS // HEADS
        params = jax.tree.map(lambda x, h=h: x[h], f["params"])
        if output is not None:
            heads.append(output(f["q"][h], f["k"][g], f["v"][g], params, f["inputs"], h))
            continue
        inputs = jax.tree.map(lambda x, h=h: x[h % len(x)], f["inputs"])
        score = oracle(f["q"][h], f["k"][g], params, inputs, h)
        more = None if extra is None else extra(params)
        allowed = (lambda i, j: j <= i) if causal else (lambda i, j: True)
        heads.append(attend(score, f["v"][g], QUERIES, KEYS, allowed, OFFSET, more))
    return np.stack(heads)
