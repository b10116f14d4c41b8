"""Softmax attention of one head as two loops, in NumPy float64."""

import numpy as np


def attend(score, v, queries, keys, allowed, offset, extra=None):
    """Output `[queries, value_dim]`. `score(a, b)` is for rows `a`, `b` at positions `offset + a`, `b`.

    `allowed(i, j)` says whether positions may attend, `extra(a, b)` is a vector added to the value of a pair.
    """
    out = np.zeros((queries, v.shape[1]))
    for a in range(queries):
        seen = [b for b in range(keys) if allowed(offset + a, b)]
        if not seen:
            continue
        s = np.array([score(a, b) for b in seen])
        w = np.exp(s - s.max())
        w /= w.sum()
        for b, weight in zip(seen, w, strict=True):
            out[a] += weight * (v[b] + (0 if extra is None else extra(a, b)))
    return out
