"""Attention whose positions or choices depend on content, from the papers, one head, NumPy float64."""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def cope(q, k, p, offset, max_position):
    def raw(a, b):
        return np.dot(q[a], k[b]) / math.sqrt(len(q[a]))

    def score(a, b):
        place = min(sum(sigmoid(raw(a, n)) for n in range(b, offset + a + 1)), max_position)
        below = math.floor(place)
        above = min(below + 1, max_position)
        vector = (1 - (place - below)) * p["place"][below] + (place - below) * p["place"][above]
        return raw(a, b) + np.dot(q[a], vector)

    return score


def path(q, k, x, offset):
    direction, strength = x["direction"], x["strength"]

    def score(a, b):
        dim = len(q[a])
        between = np.eye(dim)
        for at in range(b + 1, offset + a + 1):
            w = direction[at] / np.linalg.norm(direction[at])
            between = between @ (np.eye(dim) - 2 * sigmoid(strength[at][0]) * np.outer(w, w))
        return k[b] @ between @ q[a] / math.sqrt(dim)

    return score


def selective(q, k, judge, offset):
    """The listing of the paper: what every token says of every other, summed down the columns."""
    tokens, dim = len(k), len(k[0])
    said = np.zeros((tokens, tokens))
    for n in range(tokens):
        for b in range(1, n):
            said[n, b] = max(np.dot(judge[n], k[b]) / math.sqrt(dim), 0)

    def score(a, b):
        return np.dot(q[a], k[b]) / math.sqrt(dim) - said[: offset + a, b].sum()

    return score


def centre(q, p, name, length):
    return length * sigmoid(sum(p[name] * np.tanh(q @ p["into"])))


def localness(q, k, p, offset, length):
    def score(a, b):
        place, width = (centre(q[a], p, name, length) for name in ("place", "width"))
        deviation = max(width, 1) / 2
        return np.dot(q[a], k[b]) / math.sqrt(len(q[a])) - (b - place) ** 2 / (2 * deviation**2)

    return score


def softmax(s):
    e = np.exp(np.array(s) - max(s))
    return e / e.sum()


def local_predictive(q, k, v, p, half_width, length):
    out = np.zeros((len(q), v.shape[1]))
    for a in range(len(q)):
        place = centre(q[a], p, "place", length)
        seen = [b for b in range(len(k)) if place - half_width <= b <= place + half_width]
        align = softmax([np.dot(q[a], k[b]) / math.sqrt(len(q[a])) for b in seen])
        for b, w in zip(seen, align, strict=True):
            out[a] += w * math.exp(-((b - place) ** 2) / (2 * (half_width / 2) ** 2)) * v[b]
    return out


def inverted(q, k, v):
    s = np.array([[np.dot(x, y) / math.sqrt(len(x)) for y in k] for x in q])
    shares = np.stack([softmax(column) for column in s.T], axis=1)
    return (shares / shares.sum(axis=1, keepdims=True)) @ v


def chosen(q, k, v, seen_by):
    """Softmax attention of row `a` to the keys `seen_by(a)`."""
    out = np.zeros((len(q), v.shape[1]))
    for a in range(len(q)):
        seen = seen_by(a)
        if seen:
            w = softmax([np.dot(q[a], k[b]) / math.sqrt(len(q[a])) for b in seen])
            out[a] = w @ v[seen]
    return out


def moba(q, k, v, offset, size, count):
    """Causal; a block of the past is whole, the query's own is always taken and cut off behind the query."""

    def seen(a):
        i = offset + a
        own = i // size
        gates = {n: np.dot(q[a], k[n * size : (n + 1) * size].mean(axis=0)) for n in range(own)}
        best = sorted(gates, key=gates.get, reverse=True)[: count - 1]
        return [b for b in range(i + 1) if b // size in (own, *best)]

    return chosen(q, k, v, seen)


def lsh(q, k, v, rotation):
    def bucket(x, turn):
        y = x @ turn
        return int(np.argmax(np.concatenate([y, -y])))

    def seen(a):
        return [
            b for b in range(len(k)) if any(bucket(q[a], turn) == bucket(k[b], turn) for turn in rotation)
        ]

    return chosen(q, k, v, seen)


def routing(q, k, v, centroid):
    """Roy et al. 2020: attention to the keys whose centroid is the query's own; and these centroids."""

    def nearest(x):
        return max(range(len(centroid)), key=lambda c: np.dot(x, centroid[c]))

    of_keys = [nearest(key) for key in k]
    return chosen(q, k, v, lambda a: [b for b in range(len(k)) if of_keys[b] == nearest(q[a])]), of_keys
