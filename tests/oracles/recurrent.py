"""Recurrent attention of one head as its paper writes it: slow loops in float64 that share no code.

Every function takes raw projected inputs `[tokens, width]` and the head's learned numbers by name.
"""

import numpy as np
from oracles import approximations


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return np.log1p(np.exp(x))


def unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6)


def linear(p, x, head, heads):
    """Equation 5 of Katharopoulos et al.: a sum over all earlier tokens."""
    q, k = (np.where(a > 0, a + 1, np.exp(a)) for a in (x["q"], x["k"]))
    rows = []
    for t in range(len(q)):
        w = np.array([q[t] @ k[s] for s in range(t + 1)])
        rows.append(w @ x["v"][: t + 1] / w.sum())
    return np.stack(rows)


def retnet(p, x, head, heads):
    """Equation 3 of Sun et al.: complex rotations and a power of gamma."""
    dim = x["q"].shape[1]
    theta = 10000.0 ** (-2 * np.arange(dim // 2) / dim)
    q, k = (a[:, : dim // 2] + 1j * a[:, dim // 2 :] for a in (x["q"], x["k"]))
    gamma, out = 1 - 2.0 ** (-5 - head), np.zeros_like(x["v"])
    for n in range(len(q)):
        for m in range(n + 1):
            turned = q[n] * np.exp(1j * n * theta) * np.conj(k[m] * np.exp(1j * m * theta))
            out[n] += gamma ** (n - m) * turned.sum().real / np.sqrt(dim) * x["v"][m]
    return out


def faded(q, k, v, gates):
    """`sum_s (q_t * prod of gates after s) . k_s v_s`, every product anew."""
    out = np.zeros((len(q), v.shape[1]))
    for t in range(len(q)):
        for s in range(t + 1):
            left = np.ones(q.shape[1])
            for r in range(s + 1, t + 1):
                left = left * gates[r]
            out[t] += (q[t] * left * k[s]).sum() * v[s]
    return out


def lightning(p, x, head, heads):
    slope = 2.0 ** (-8 * (head + 1) / heads)
    gates = np.full((len(x["v"]), 1), np.exp(-slope))
    return faded(silu(x["q"]), silu(x["k"]), x["v"], gates)


def simple_gla(p, x, head, heads):
    return faded(x["q"] / np.sqrt(x["q"].shape[1]), x["k"], x["v"], sigmoid(x["decay"]) ** (1 / 16))


gla = simple_gla


def hgrn2(p, x, head, heads):
    gate = sigmoid(x["decay"])
    return faded(silu(x["q"]), 1 - gate, x["v"], gate)


def mamba2(p, x, head, heads):
    """Listing 1 of Dao and Gu, as the recurrence that it discretizes."""
    b, c, v = silu(x["k"]), silu(x["q"]), silu(x["v"])
    dt = softplus(x["dt"] + p["dt_bias"])
    h, out = np.zeros((b.shape[1], v.shape[1])), []
    for t in range(len(v)):
        h = np.exp(-np.exp(p["A_log"]) * dt[t]) * h + np.outer(b[t], dt[t] * v[t])
        out.append(c[t] @ h + p["skip"] * v[t])
    return np.stack(out)


def rwkv6(p, x, head, heads):
    """`wkv_t = Diag(u) k_t v_t + sum_{i<t} Diag(prod of w between them) k_i v_i`."""
    w = np.exp(-np.exp(x["decay"] + p["decay_bias"]))
    q, k, v, out = x["q"], x["k"], x["v"], np.zeros_like(x["v"])
    for t in range(len(v)):
        wkv = np.diag(p["bonus"]) @ np.outer(k[t], v[t])
        for i in range(t):
            between = np.prod(w[i + 1 : t], axis=0)
            wkv = wkv + np.diag(between) @ np.outer(k[i], v[i])
        out[t] = q[t] @ wkv
    return out


def reflections(q, k, v, beta, gates, steps=1):
    """Products of `(I - beta k k^T)` as full matrices, a token's gates before the first of them."""
    dim = q.shape[1]
    state, out = np.zeros((dim, v.shape[-1])), []
    for t in range(len(q)):
        state = np.diag(np.broadcast_to(gates[t], dim)) @ state
        for j in range(steps):
            kj = k[t, j][:, None]
            state = (np.eye(dim) - beta[t, j] * kj @ kj.T) @ state + beta[t, j] * kj @ v[t, j][None]
        out.append(q[t] @ state)
    return np.stack(out)


def delta(p, x, gates):
    q = unit(silu(x["q"])) / np.sqrt(x["q"].shape[1])
    k, v = unit(silu(x["k"]))[:, None], silu(x["v"])[:, None]
    return reflections(q, k, v, sigmoid(x["beta"]), gates)


def delta_net(p, x, head, heads):
    return delta(p, x, np.ones((len(x["v"]), 1)))


def gated_delta_net(p, x, head, heads):
    return delta(p, x, np.exp(-np.exp(p["A_log"]) * softplus(x["dt"] + p["dt_bias"])))


kimi_delta = gated_delta_net


def delta_product(p, x, head, heads):
    tokens, dim = x["q"].shape
    k, v = (silu(x[name]).reshape(tokens, 2, -1) for name in ("k", "v"))
    q = unit(silu(x["q"])) / np.sqrt(dim)
    return reflections(q, unit(k), v, 2 * sigmoid(x["beta"]), np.ones((tokens, 1)), steps=2)


def mlstm(p, x, head, heads):
    """Equations 19 to 27 of Beck et al. without their stabilizer."""
    dim = x["q"].shape[1]
    q, k, v = silu(x["q"]), silu(x["k"]) / np.sqrt(dim), x["v"]
    put, keep = (
        np.exp(x["input_gate"] + p["input_gate_bias"]),
        sigmoid(x["forget_gate"] + p["forget_gate_bias"]),
    )
    c, n, out = np.zeros((v.shape[1], dim)), np.zeros(dim), []
    for t in range(len(v)):
        c = keep[t] * c + put[t] * np.outer(v[t], k[t])
        n = keep[t] * n + put[t] * k[t]
        out.append(c @ q[t] / max(abs(n @ q[t]), 1))
    return np.stack(out)


def diagonal_ssm(p, x, head, heads):
    """The complex recurrence, discretized by zero-order hold."""
    step, pole = np.exp(p["log_dt"]), -np.exp(p["A_log"]) + 1j * p["frequency"]
    a, out = np.exp(pole * step), []
    b, c = (a - 1) / pole, p["out"][:, 0] + 1j * p["out"][:, 1]
    h = np.zeros((len(pole), x["v"].shape[1]), complex)
    for v in x["v"]:
        h = a[:, None] * h + b[:, None] * v
        out.append(2 * (c @ h).real + p["skip"] * v)
    return np.stack(out)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def gsa(p, x, head, heads):
    """The slots of Zhang et al., one after the other."""
    q, k, v, gate = silu(x["q"]), silu(x["k"]), silu(x["v"]), sigmoid(x["decay"]) ** (1 / 8)
    slots = gate.shape[1]
    keys, values, out = np.zeros((slots, k.shape[1])), np.zeros((slots, v.shape[1])), []
    for t in range(len(v)):
        for m in range(slots):
            keys[m] = gate[t, m] * keys[m] + (1 - gate[t, m]) * k[t]
            values[m] = gate[t, m] * values[m] + (1 - gate[t, m]) * v[t]
        out.append(softmax(keys @ q[t]) @ values)
    return np.stack(out)


def abc(p, x, head, heads):
    """The slots of Peng et al., every normalized sum anew."""
    q, k, v, out = x["q"], x["k"], x["v"], []
    for t in range(len(v)):
        control = np.exp(x["control"][: t + 1])
        control = control / control.sum(0)
        weights = softmax(control.T @ k[: t + 1] @ q[t] / np.sqrt(q.shape[1]))
        out.append(weights @ (control.T @ v[: t + 1]))
    return np.stack(out)


def mesa_net(p, x, head, heads):
    """Ridge regression of all values so far on all keys so far, solved anew for every token."""
    q, k, v = unit(silu(x["q"])), unit(silu(x["k"])), x["v"]
    gate, beta = sigmoid(x["decay"][:, 0]), sigmoid(x["beta"][:, 0])
    ridge, out = np.diag(0.25 + softplus(p["ridge"])), []
    for t in range(len(v)):
        importance = np.array([beta[s] * np.prod(gate[s + 1 : t + 1]) for s in range(t + 1)])
        weighted = importance[:, None] * k[: t + 1]
        fit = np.linalg.inv(weighted.T @ k[: t + 1] + ridge) @ weighted.T @ v[: t + 1]
        out.append(q[t] @ fit)
    return np.stack(out)


def luna_causal(p, x, head, heads):
    return approximations.luna_causal({"rows": p["rows"], "pack": x["pack"]}, x["q"], x["k"], x["v"])
