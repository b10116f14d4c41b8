"""Approximations of attention as loops over numbers, NumPy float64, each from its paper's equation.

Every function takes parameters `p`, `q`, `k`, `v` and the variant's options by name. Sources: the cards in
`attnkit/approximate/variant`.
"""

import cmath
import math
from fractions import Fraction

import numpy as np


def normalized(weights):
    """Rows divided by their sums; a row of zeros stays."""
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def soft(scores):
    return normalized(np.exp(scores))


def linformer(p, q, k, v):
    rank, keys = p["key"].shape[0], len(k)
    mixed = np.array([sum(p["key"][r, j] * k[j] for j in range(keys)) for r in range(rank)])
    values = np.array([sum(p["value"][r, j] * v[j] for j in range(keys)) for r in range(rank)])
    return soft(q @ mixed.T / math.sqrt(q.shape[1])) @ values


def nystromformer(p, q, k, v, landmarks):
    groups = [
        [
            j
            for j in range(len(k))
            if Fraction(s * len(k), landmarks) <= j < Fraction((s + 1) * len(k), landmarks)
        ]
        for s in range(landmarks)
    ]
    means_q, means_k = (np.array([x[g].mean(axis=0) for g in groups if g]) for x in (q, k))
    root = math.sqrt(q.shape[1])
    one, two, three = (soft(a @ b.T / root) for a, b in ((q, means_k), (means_q, means_k), (means_q, k)))
    output = one @ np.linalg.pinv(two) @ three @ v
    width = len(p["convolution"])
    for t in range(len(v)):
        for s in range(width):
            if 0 <= t + s - width // 2 < len(v):
                output[t] += p["convolution"][s] * v[t + s - width // 2]
    return output


def masked(weights, causal):
    return np.tril(weights) if causal else weights


def performer(p, q, k, v, kind="positive", causal=False):
    def features(x):
        x, w = x / x.shape[1] ** 0.25, p["direction"]
        half, along = (x**2).sum(axis=1, keepdims=True) / 2, x @ w.T
        return {
            "positive": np.exp(along - half),
            "hyperbolic": np.hstack([np.exp(along - half), np.exp(-along - half)]),
            "trigonometric": np.exp(half) * np.hstack([np.sin(along), np.cos(along)]),
        }[kind]

    return normalized(masked(features(q) @ features(k).T, causal)) @ v


def random_feature(p, q, k, v, causal=False, gate=False):
    def feature(x):
        along = p["direction"] @ (p["sigma"] * x / np.linalg.norm(x))
        return np.concatenate([np.sin(along), np.cos(along)]) / math.sqrt(len(p["direction"]))

    if not gate:
        weights = np.array([[feature(a) @ feature(b) for b in k] for a in q])
        return normalized(masked(weights, causal)) @ v
    s, z, rows = 0.0, 0.0, []
    for t in range(len(q)):
        g = 1 / (1 + math.exp(-p["gate"][t, 0]))
        s = g * s + (1 - g) * np.outer(feature(k[t]), v[t])
        z = g * z + (1 - g) * feature(k[t])
        rows.append(feature(q[t]) @ s / (feature(q[t]) @ z))
    return np.array(rows)


def cosformer(p, q, k, v, length, causal=False):
    weights = np.array(
        [
            [np.maximum(a, 0) @ np.maximum(b, 0) * math.cos(math.pi / 2 * (i - j) / length) for j, b in pairs]
            for i, a in enumerate(q)
            for pairs in [list(enumerate(k))]
        ]
    )
    return normalized(masked(weights, causal)) @ v


def luna(p, q, k, v):
    root = math.sqrt(q.shape[1])
    packed = soft(p["rows"] @ k.T / root) @ v
    return soft(q @ (packed @ p["key"]).T / root) @ (packed @ p["value"])


def luna_causal(p, q, k, v):
    root, rows = math.sqrt(q.shape[1]), []
    a = np.log2(1 + 2 ** (p["pack"] @ p["rows"].T / root))
    for t in range(1, len(q) + 1):
        found = sum((q[t - 1] @ k[j]) * a[j] for j in range(t)) / t / root
        read = np.exp(found) / np.exp(found).sum()
        rows.append(sum((read @ a[j]) * v[j] for j in range(t)) / t)
    return np.array(rows)


def fnet(p, q, k, v):
    tokens, width = v.shape
    return np.array(
        [
            [
                sum(
                    (v[n, m] * cmath.exp(-2j * math.pi * (a * n / tokens + b * m / width))).real
                    for n in range(tokens)
                    for m in range(width)
                )
                for b in range(width)
            ]
            for a in range(tokens)
        ]
    )


def synthesizer_dense(p, q, k, v, causal=False):
    scores = np.maximum(q + p["hidden"], 0) @ p["scores"][:, : len(v)] + p["bias"][: len(v)]
    return normalized(masked(np.exp(scores), causal)) @ v


def synthesizer_random(p, q, k, v, causal=False):
    return normalized(masked(np.exp(p["scores"][: len(v), : len(v)]), causal)) @ v


def aft_full(p, q, k, v, causal=False):
    output = np.zeros(v.shape)
    for i in range(len(q)):
        for c in range(v.shape[1]):
            seen = range(i + 1 if causal else len(k))
            e = [math.exp(k[j, c] + (p["row"][i] @ p["column"][j] if p else 0)) for j in seen]
            mean = sum(w * v[j, c] for w, j in zip(e, seen, strict=True)) / sum(e)
            output[i, c] = mean / (1 + math.exp(-q[i, c]))
    return output


def aft_simple(p, q, k, v, causal=False):
    return aft_full({}, q, k, v, causal)


def skyformer(p, q, k, v, ridge):
    def kernel(x, y):
        return np.array([[math.exp(-((a - b) @ (a - b)) / (2 * math.sqrt(len(a)))) for b in y] for a in x])

    at = [int(u * len(k)) for u in p["place"]]
    half = len(at) // 2
    z = np.array([q[n] for n in at[:half]] + [k[n] for n in at[half:]])
    return kernel(q, z) @ np.linalg.inv(kernel(z, z) + ridge * np.eye(len(z))) @ kernel(z, k) @ v


def h_transformer_1d(p, q, k, v, block):
    tokens, weights = len(k), np.zeros((len(q), len(k)))

    def mean(x, n, level):
        group = [m for m in range(tokens) if m >> level == n >> level]
        return x[group].mean(axis=0)

    for i in range(tokens):
        for j in range(tokens):
            level = next(n for n in range(99) if abs((i >> n) // block - (j >> n) // block) <= 1)
            a, b = mean(q, i, level), mean(k, j, level)
            weights[i, j] = math.exp(a @ b / math.sqrt(q.shape[1]))
    return normalized(weights) @ v


def balanced(matrix, steps):
    """A positive matrix whose rows, then columns, then rows ... are divided by their sums."""
    for step in range(steps):
        matrix = matrix / matrix.sum(axis=1 - step % 2, keepdims=True)
    return matrix


def sinkformer(p, q, k, v, steps):
    return balanced(np.exp(q @ k.T / math.sqrt(q.shape[1])), steps) @ v


def sinkhorn(p, q, k, v, block, steps, temperature):
    tokens, starts = len(k), range(0, len(k), block)
    wanted = [k[s : s + block].sum(axis=0) @ p["sort"] + p["bias"] for s in starts]
    move = balanced(np.exp(np.array(wanted)[:, : len(starts)] / temperature), 2 * steps)
    rows = []
    for i in range(tokens):
        own, keys, values = i // block, [], []
        for place in range(min(block, tokens)):
            there = [(move[own, n], s + place) for n, s in enumerate(starts) if s + place < tokens]
            keys.append(sum(w * k[t] for w, t in there))
            values.append(sum(w * v[t] for w, t in there))
        for t in range(own * block, min((own + 1) * block, tokens)):
            keys.append(k[t])
            values.append(v[t])
        e = np.exp(np.array(keys) @ q[i] / math.sqrt(q.shape[1]))
        rows.append(e @ np.array(values) / e.sum())
    return np.array(rows)
