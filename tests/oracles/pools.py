"""Pools in float64, with nothing but loops over the kept vectors, straight from the papers."""

import numpy as np


def softmax(scores):
    e = np.exp(np.array(scores) - max(scores))
    return e / e.sum()


def mixed(weights, rows):
    return sum(w * row for w, row in zip(weights, rows, strict=True))


def additive_pooling(p, rows):
    scores = [p["context"] @ np.tanh(p["matrix"].T @ row + p["bias"]) for row in rows]
    w = softmax(scores)
    return np.array([mixed(w, rows)]), np.array([w])


def self_attentive(p, rows):
    w = np.array(
        [
            softmax([p["second"][hop] @ np.tanh(p["first"] @ row) for row in rows])
            for hop in range(len(p["second"]))
        ]
    )
    return np.array([mixed(one, rows) for one in w]), w


def self_attentive_penalty(w):
    total = 0.0
    for a in range(len(w)):
        for b in range(len(w)):
            total += (sum(x * y for x, y in zip(w[a], w[b], strict=True)) - (a == b)) ** 2
    return total


def attention_layer(queries, keys, values, heads):
    """Rows of joined heads, and weights by query, then head."""
    size = len(queries[0]) // heads
    output, weights = [], []
    for q in queries:
        row = []
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            w = softmax([q[own] @ k[own] / np.sqrt(size) for k in keys])
            weights.append(w)
            row.append(mixed(w, [v[own] for v in values]))
        output.append(np.concatenate(row))
    return np.array(output), np.array(weights)


def learned_query(p, rows):
    query = [p["query"].reshape(-1)]
    keys, values = ([row @ p[name] for row in rows] for name in ("key", "value"))
    output, weights = attention_layer(query, keys, values, len(p["query"]))
    return output @ p["output"], weights


def pma(p, rows, heads):
    before = [np.maximum(row @ p["before"] + p["bias_before"], 0) for row in rows]
    queries = [seed @ p["query"] for seed in p["seeds"]]
    keys, values = ([z @ p[name] for z in before] for name in ("key", "value"))
    found, weights = attention_layer(queries, keys, values, heads)
    h = np.array([standard(seed + row @ p["output"]) for seed, row in zip(p["seeds"], found, strict=True)])
    output = [standard(row + np.maximum(row @ p["after"] + p["bias_after"], 0)) for row in h]
    return np.array(output), weights


def standard(row):
    return (row - row.mean()) / np.sqrt(row.var() + 1e-6)
