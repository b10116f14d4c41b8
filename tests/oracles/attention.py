"""Multi-head scaled dot-product attention as loops over numbers, NumPy float64.

Sources: Vaswani et al. 2017 (1706.03762) equation 1; Shazeer 2019 (1911.02150) and Ainslie et al. 2023
(2305.13245) for shared key-value heads, where query head h of H reads key-value head floor(h * G / H);
Gemma Team 2024 (2408.00118) section 2 for the cap, here after all biases and before the mask; Press et al.
2021 (2108.12409) for slopes.
"""

import math


def attention(q, k, v, allowed, first=0, cap=None, bias=None):
    """Output and log-sum-exp, nested lists `[heads][queries]...`.

    `allowed(h, i, j)` and `bias(h, i, j)` take the head and absolute positions; queries start at `first`.
    """
    heads, groups, dim = len(q), len(k), len(q[0][0])
    outputs, lses = [], []
    for h in range(heads):
        g = (h * groups) // heads
        rows, row_lses = [], []
        for a in range(len(q[h])):
            i, seen = first + a, []
            for j in range(len(k[g])):
                if not allowed(h, i, j):
                    continue
                s = math.fsum(q[h][a][c] * k[g][j][c] for c in range(dim)) / math.sqrt(dim)
                s += 0.0 if bias is None else bias(h, i, j)
                s = s if cap is None else cap * math.tanh(s / cap)
                seen.append((s, v[g][j]))
            row, lse = mixed(seen, len(v[g][0]))
            rows.append(row)
            row_lses.append(lse)
        outputs.append(rows)
        lses.append(row_lses)
    return outputs, lses


def mixed(seen, width):
    """The softmax-weighted mean of values, and the logarithm of the sum of exponentials."""
    if not seen:
        return [0.0] * width, -math.inf
    top = max(s for s, _ in seen)
    total = math.fsum(math.exp(s - top) for s, _ in seen)
    row = [math.fsum(math.exp(s - top) / total * value[c] for s, value in seen) for c in range(width)]
    return row, top + math.log(total)


def alibi_slope(h, heads):
    """The geometric sequence that starts at 2^(-8 / heads), for a power of two."""
    return 2.0 ** (-8.0 * (h + 1) / heads)
