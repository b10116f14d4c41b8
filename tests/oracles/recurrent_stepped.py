"""Recurrences whose update is their own, of one head, as their papers write them: slow loops in float64."""

import numpy as np
from oracles.recurrent import sigmoid, silu, softplus, unit


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


def titans(p, x):
    """Equations 13 to 15 of Behrouz et al., with a linear memory and the gradient of half the loss."""
    q, k, v = unit(silu(x["q"])), unit(silu(x["k"])), silu(x["v"])
    rate, eta, alpha = (sigmoid(x[name][:, 0]) for name in ("rate", "momentum", "forget"))
    memory = surprise = np.zeros((v.shape[1], k.shape[1]))
    out = []
    for t in range(len(v)):
        gradient = np.outer(memory @ k[t] - v[t], k[t])
        surprise = eta[t] * surprise - rate[t] * gradient
        memory = (1 - alpha[t]) * memory + surprise
        out.append(memory @ q[t])
    return np.stack(out)


def mamba3(p, x):
    """The authors' reference of one input and one output, with a complex state for the rotated rows.

    Rows are multiplied by `exp(i angle)` anew at every token instead of B and C by the sum of the angles.
    """
    count, pairs, v = len(x["v"]), x["angle"].shape[1], x["v"]
    b, c = (
        p[f"{n}_gain"] * x[n] / np.sqrt((x[n] ** 2).mean(-1, keepdims=True) + 1e-5) + p[f"{n}_bias"]
        for n in "kq"
    )
    dt, share = softplus(x["dt"][:, 0] + p["dt_bias"]), sigmoid(x["share"][:, 0])
    raw = x["decay"][:, 0]
    alpha = np.exp(-np.where(raw >= 0, 1 + raw, 1 / (1 - np.minimum(raw, 0))) * dt)
    waves = np.exp(1j * np.pi * np.tanh(x["angle"]) * dt[:, None])

    def split(a):
        return a[:pairs] + 1j * a[pairs : 2 * pairs], a[2 * pairs :]

    turning, still = np.zeros((pairs, v.shape[1]), complex), np.zeros((b.shape[1] - 2 * pairs, v.shape[1]))
    last_turning, last_still, out = turning, still, []
    for t in range(count):
        (bz, br), (cz, cr) = split(b[t]), split(c[t])
        past, own = (1 - share[t]) * dt[t] * alpha[t], share[t] * dt[t]
        wave = waves[t][:, None]
        turning = wave * (alpha[t] * turning + past * last_turning) + own * np.outer(np.conj(bz), v[t])
        still = alpha[t] * still + past * last_still + own * np.outer(br, v[t])
        last_turning, last_still = np.outer(np.conj(bz), v[t]), np.outer(br, v[t])
        out.append((cz @ turning).real + cr @ still + p["skip"] * v[t])
    return np.stack(out)
