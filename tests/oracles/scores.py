"""Scores straight from their papers, one head, NumPy float64: `score(a, b)` of two rows."""

import math

import numpy as np


def dot(q, k, p):
    return lambda a, b: sum(q[a] * k[b]) / math.sqrt(len(q[a]))


def additive(q, k, p):
    def score(a, b):
        total = 0.0
        for h in range(len(p["out"])):
            inside = sum(q[a][c] * p["query"][c][h] + k[b][c] * p["key"][c][h] for c in range(len(q[a])))
            total += p["out"][h] * math.tanh(inside)
        return total

    return score


def bilinear(q, k, p):
    def score(a, b):
        dim = len(q[a])
        return sum(q[a][c] * p["matrix"][c][e] * k[b][e] for c in range(dim) for e in range(dim))

    return score


def cosine(q, k, p):
    def score(a, b):
        return p["factor"] * np.dot(q[a], k[b]) / (np.linalg.norm(q[a]) * np.linalg.norm(k[b]))

    return score


def euclidean(q, k, p):
    return lambda a, b: -sum((q[a] - k[b]) ** 2) / math.sqrt(len(q[a]))


def disentangled(q, k, p, offset, max_distance):
    def place(i, j):
        if i - j <= -max_distance:
            return 0
        if i - j >= max_distance:
            return 2 * max_distance - 1
        return i - j + max_distance

    def score(a, b):
        i, j = offset + a, b
        total = (
            np.dot(q[a], k[b]) + np.dot(q[a], p["key"][place(i, j)]) + np.dot(k[b], p["query"][place(j, i)])
        )
        return total / math.sqrt(3 * len(q[a]))

    return score


def trilinear(q, k, p):
    def score(a, b):
        joined = np.concatenate([q[a], k[b], q[a] * k[b]])
        return np.dot(np.concatenate([p["query"], p["key"], p["product"]]), joined)

    return score


def location(q, k, p):
    return lambda a, b: np.dot(p["place"][b], q[a])
