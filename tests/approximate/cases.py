"""One case for each form of each variant: options, and what its oracle is told."""

import importlib

import jax
import numpy as np

from attnkit.variant import HeadShape

FORMS = [
    ("linformer", {"rank": 5, "length": 23}, {}),
    ("nystromformer", {"landmarks": 7, "iterations": 30, "convolution": 5}, {"landmarks": 7}),
    ("luna", {"rows": 3}, {}),
    ("fnet", {}, {}),
    ("synthesizer_dense", {"length": 23}, {}),
    ("synthesizer_dense", {"length": 23, "causal": True}, {"causal": True}),
    ("synthesizer_random", {"length": 23}, {}),
    ("synthesizer_random", {"length": 23, "causal": True}, {"causal": True}),
    ("aft_full", {"length": 23, "rank": 3}, {}),
    ("aft_full", {"length": 23, "rank": 3, "causal": True}, {"causal": True}),
    ("aft_simple", {}, {}),
    ("aft_simple", {"causal": True}, {"causal": True}),
    ("skyformer", {"landmarks": 6, "iterations": 30, "ridge": 0.2}, {"ridge": 0.2}),
    ("h_transformer_1d", {"block": 2}, {"block": 2}),
    ("sinkhorn", {"block": 4, "length": 23, "steps": 3}, {"block": 4, "steps": 3, "temperature": 0.75}),
    ("sinkformer", {"steps": 3}, {"steps": 3}),
]
IDS = ["-".join((name, *(str(x) for n, x in more.items() if n == "causal"))) for name, more, _ in FORMS]


def variant_of(name, options):
    module = importlib.import_module(f"attnkit.approximate.variant.{name}")
    return getattr(module, "".join(word[:1].upper() + word[1:] for word in name.split("_")))(**options)


def arrays_of(variant, tokens, dim, value_dim, seed=0):
    """Parameters of one head away from their start, with constants and token inputs; q, k, v."""
    random = np.random.default_rng(seed)
    value_dim = dim if variant.channels else value_dim
    shape = HeadShape(2, dim, value_dim)
    one, two = jax.random.split(jax.random.key(seed))
    p = {n: np.asarray(a[1], np.float64) for n, a in variant.init(one, shape).items()}
    p = {n: a + 0.3 * random.normal(size=a.shape) for n, a in p.items()}
    p |= {n: np.asarray(a[1], np.float64) for n, a in variant.constants(two, shape).items()}
    q, k = (
        random.normal(size=(tokens, dim if side in variant.projections else 0)) for side in ("query", "key")
    )
    return p, q, k, random.normal(size=(tokens, value_dim))
