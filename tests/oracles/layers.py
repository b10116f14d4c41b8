"""Attention layers from their papers' equations, one token and one head at a time, in float64."""

import numpy as np


def softmax(s):
    e = np.exp(s - s.max())
    return e / e.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rms(x, gain):
    return x / np.sqrt(np.mean(x * x) + 1e-6) * gain


def split(x, heads):
    """`[tokens, heads * dim]` as `[heads, tokens, dim]`."""
    return np.stack(np.split(x, heads, axis=1))


def key_value(kernel, heads, key_dim):
    """The matrices of keys and of values, from one whose columns are in order of the heads."""
    each = np.asarray(kernel).reshape(len(kernel), heads, -1)
    return tuple(a.reshape(len(kernel), -1) for a in (each[..., :key_dim], each[..., key_dim:]))


def attention(q, k, v, bias=None):
    """Causal attention of one head and its weights, in loops."""
    tokens = len(q)
    weights = np.zeros((tokens, tokens))
    for i in range(tokens):
        s = np.array([q[i] @ k[j] / np.sqrt(len(q[i])) for j in range(i + 1)])
        s = s if bias is None else s + bias[i, : i + 1]
        weights[i, : i + 1] = softmax(s)
    return weights @ v, weights


def rotated(x, position, base=10000.0):
    """One vector with the pairs (c, c + half) turned by position * base^(-2c/dim)."""
    half = len(x) // 2
    y = np.zeros_like(x)
    for c in range(half):
        angle = position * base ** (-2 * c / len(x))
        y[c] = x[c] * np.cos(angle) - x[c + half] * np.sin(angle)
        y[c + half] = x[c] * np.sin(angle) + x[c + half] * np.cos(angle)
    return y


def talking(q, k, v, before, after):
    """Shazeer et al. 2020, section 4: logits J, mixed J', weights W', mixed W."""
    heads, tokens, dim = q.shape
    logits = np.zeros((heads, tokens, tokens))
    for h in range(heads):
        for i in range(tokens):
            for j in range(tokens):
                logits[h, i, j] = q[h, i] @ k[h, j] / np.sqrt(dim)
    mixed = np.zeros_like(logits)
    for h in range(heads):
        for f in range(heads):
            mixed[h] += before[h, f] * logits[f]
    weights = np.zeros_like(logits)
    for h in range(heads):
        for i in range(tokens):
            weights[h, i, : i + 1] = softmax(mixed[h, i, : i + 1])
    spoken = np.zeros_like(weights)
    for h in range(heads):
        for g in range(heads):
            spoken[h] += after[g, h] * weights[g]
    return np.stack([spoken[h] @ v[h] for h in range(heads)]), spoken


def differential(q, k, v, factor, start, gain):
    """Ye et al. 2024, equations 1 and 3: `q [2, heads, tokens, dim]`, `v [heads, tokens, 2 dim]`."""
    outputs = []
    for h in range(v.shape[0]):
        first, second = attention(q[0, h], k[0, h], v[h])[0], attention(q[1, h], k[1, h], v[h])[0]
        outputs.append(np.stack([rms(row, gain) for row in first - factor * second]) * (1 - start))
    return np.stack(outputs)


def differential_v2(q, k, v, factor):
    """The authors' code: `q [2 heads, tokens, dim]`, `factor [tokens, heads]` before the sigmoid."""
    outputs = []
    for h in range(v.shape[0]):
        first, second = (attention(q[2 * h + n], k[h], v[h])[0] for n in (0, 1))
        outputs.append([a - sigmoid(raw) * b for a, b, raw in zip(first, second, factor[:, h], strict=True)])
    return np.array(outputs)


def deltaformer(q, k, v, rates):
    """Zhong et al. 2025, with keys against keys; `rates [tokens, heads]`."""
    heads = []
    for h, (qs, ks, vs) in enumerate(zip(q, k, v, strict=True)):
        u = []
        for i, value in enumerate(vs):
            w = softmax(np.array([ks[i] @ ks[j] for j in range(i)]) / np.sqrt(len(ks[i]))) if i else []
            u.append(value - rates[i, h] * sum((w[j] * u[j] for j in range(i)), np.zeros_like(value)))
        heads.append(attention(qs, ks, np.array(u))[0])
    return np.array(heads)


def two_simplicial(q, k, v, second_k, second_v, first_window, second_window):
    """Roy et al. 2025: a softmax over pairs (j, l) of tokens in windows that end at the query."""
    heads = np.zeros_like(q)
    for h in range(len(q)):
        for i in range(q.shape[1]):
            firsts, seconds = (range(max(0, i - w + 1), i + 1) for w in (first_window, second_window))
            pairs = [(j, m) for j in firsts for m in seconds]
            w = softmax(
                np.array([(q[h, i] * k[h, j] * second_k[h, m]).sum() for j, m in pairs]) / np.sqrt(q.shape[2])
            )
            heads[h, i] = sum(a * v[h, j] * second_v[h, m] for a, (j, m) in zip(w, pairs, strict=True))
    return heads


def multi_token(q, k, kernel, mix):
    """Golovneva et al. 2025: weights from scores of neighbors, 0 where a pair may not attend; heads mixed."""
    heads, tokens, dim = q.shape
    before, around = kernel.shape[1] - 1, kernel.shape[2] // 2
    weights = np.zeros((heads, tokens, tokens))
    for h in range(heads):
        scores = np.tril(q[h] @ k[h].T / np.sqrt(dim))
        for i in range(tokens):
            row = np.zeros(i + 1)
            for j in range(i + 1):
                for a in range(max(0, i - before), i + 1):
                    for b in range(max(0, j - around), min(tokens, j + around + 1)):
                        row[j] += kernel[h, a - i + before, b - j + around] * scores[a, b]
            weights[h, i, : i + 1] = softmax(row)
    size = mix.shape[1]
    return np.stack(
        [
            sum(mix[d // size, c, d % size] * weights[d - d % size + c] for c in range(size))
            for d in range(heads)
        ]
    )
