"""Attention to a choice of keys made by the layer, from the papers, one token at a time, in float64."""

import math

import numpy as np


def softmax(s):
    e = np.exp(np.asarray(s) - max(s))
    return e / e.sum()


def gelu(x):
    """The approximation by tanh."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def summary(rows, place, up, bias, down):
    """Yuan et al. 2025, equation 7: one vector of a run of tokens."""
    return gelu((rows + place).reshape(-1) @ up + bias) @ down


def native_sparse(q, far, blocks, near, summarize, sizes):
    """Yuan et al. 2025, equations 5 to 12, of the heads of one group, without gates.

    `q [heads, tokens, dim]`; `far`, `blocks` and `near` are `(keys, values)` of one group; `summarize` is a
    pair of functions of a run of rows. All indices below are the paper's: they count from 1. Returns the
    outputs of the three attentions `[3, heads, tokens, dim]` and the chosen blocks of each token, from 0.
    """
    size, stride, block, count, first, local, window = sizes
    heads, tokens, dim = q.shape
    out, choices = np.zeros((3, heads, tokens, dim)), []

    def attended(h, t, keys, values):
        if not len(keys):
            return np.zeros(dim), np.zeros(0)
        w = softmax([q[h, t - 1] @ key / math.sqrt(dim) for key in keys])
        return w @ np.array(values), w

    for t in range(1, tokens + 1):
        runs = range((t - size) // stride + 1) if t >= size else ()
        keys, values = (
            [act(a[i * stride : i * stride + size]) for i in runs]
            for act, a in zip(summarize, far, strict=True)
        )
        importance = dict.fromkeys(range(1, (t - 1) // block + 2), 0.0)
        for h in range(heads):
            out[0, h, t - 1], p = attended(h, t, keys, values)
            for j in importance:
                for m in range(block // stride):
                    for n in range(size // stride):
                        at = block // stride * j - m - n
                        if 1 <= at <= len(p):
                            importance[j] += p[at - 1]
        own = max(importance)
        always = [j for j in importance if j <= first or j > own - local]
        rest = sorted((j for j in importance if j not in always), key=lambda j: (-importance[j], j))
        seen = sorted([*always, *rest[: max(0, count - len(always))]])
        choices.append({j - 1 for j in seen})
        chosen = [s for j in seen for s in range((j - 1) * block, min(j * block, t))]
        close = list(range(max(0, t - window), t))
        for h in range(heads):
            out[1, h, t - 1] = attended(h, t, blocks[0][chosen], blocks[1][chosen])[0]
            out[2, h, t - 1] = attended(h, t, near[0][close], near[1][close])[0]
    return out, choices


def lightning(query, weight, key, count, heads):
    """DeepSeek-V3.2, equation 1 and the choice of equation 2, causal: the index, and who sees whom."""
    tokens, dim = key.shape
    table = np.full((tokens, tokens), -np.inf)
    seen = []
    for t in range(tokens):
        for s in range(t + 1):
            apart = np.split(query[t], heads)
            table[t, s] = sum(weight[t, h] * max(apart[h] @ key[s], 0) for h in range(heads))
            table[t, s] /= math.sqrt(heads * dim)
        seen.append(sorted(sorted(range(t + 1), key=lambda s: (-table[t, s], s))[:count]))
    return table, seen


def entry(own, before=None):
    """DeepSeek-V4, equations 9 to 12, or 20 to 23 without a run before: runs are `(c, z, b)`."""
    runs = [own] if before is None else [own, before]
    c, z = (np.concatenate(a) for a in ([c for c, _, _ in runs], [z + b for _, z, b in runs]))
    return np.array([softmax(z[:, d]) @ c[:, d] for d in range(c.shape[1])])


def best_entries(query, weight, keys, whole, count):
    """DeepSeek-V4, equations 13 to 17: the index of each entry that is whole, and the best of them."""
    heads, dim = query.shape
    index = [
        sum(weight[h] * max(query[h] @ key, 0) for h in range(heads)) / math.sqrt(heads * dim)
        for key in keys[:whole]
    ]
    return index, sorted(sorted(range(whole), key=lambda s: (-index[s], s))[:count])


def with_sink(q, keys, sink):
    """Weights of keys that are values, beside a sink: the sum is less than 1."""
    s = [q @ key / math.sqrt(len(q)) for key in keys]
    return softmax([*s, sink])[:-1]
