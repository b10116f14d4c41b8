"""Recurrences whose update is their own, of one head, as their papers write them: slow loops in float64."""

import numpy as np
from oracles.recurrent import sigmoid, silu, softplus


def standardized(x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6)


def ttt_linear(p, x, batch, speed=1.0):
    """Sun et al.: the gradient of the inner loss written out, summed anew in every mini-batch."""
    q, k, v = x["q"], x["k"], x["v"]
    eta = speed * sigmoid(x["rate"][:, 0]) / v.shape[1]
    start, shift, out = p["matrix"], p["bias"], []
    for first in range(0, len(v), batch):
        matrix, bias = start, shift
        for t in range(first, min(first + batch, len(v))):
            z = k[t] @ start + shift
            unit, size = standardized(z), np.sqrt(z.var() + 1e-6)
            error = p["norm_scale"] * (k[t] + p["norm_scale"] * unit + p["norm_shift"] - v[t])
            slope = (error - error.mean() - unit * (error * unit).mean()) / size
            matrix, bias = matrix - eta[t] * np.outer(k[t], slope), bias - eta[t] * slope
            out.append(q[t] + p["norm_scale"] * standardized(q[t] @ matrix + bias) + p["norm_shift"])
        start, shift = matrix, bias
    return np.stack(out)


def stretches(t, levels):
    """`(level, first, behind)` of the stretches that Guo et al. cut the past of token `t` into."""
    yield 0, t, t + 1
    while t:
        last = t & -t
        yield min(last.bit_length(), levels - 1), t - last, t
        t -= last


def log_linear(p, x, levels):
    """Every stretch summed anew, and weighted as the reading token says."""
    q, k, v = silu(x["q"]), silu(x["k"]), silu(x["v"])
    time = softplus(x["dt"][:, 0] + p["dt_bias"])
    weights, out = softplus(p["level"] * x["level"]), p["skip"] * v
    for t in range(len(v)):
        for level, first, behind in stretches(t, levels):
            for s in range(first, behind):
                fade = np.exp(-np.exp(p["A_log"]) * time[s + 1 : t + 1].sum())
                out[t] = out[t] + weights[t, level] * fade * (q[t] @ k[s]) * time[s] * v[s]
    return out
