"""Biases by distance, straight from their papers, one head, NumPy float64: added to `q . k / sqrt(dim)`."""

import math

import numpy as np


def with_bias(q, k, offset, bias):
    return lambda a, b: np.dot(q[a], k[b]) / math.sqrt(len(q[a])) + bias(offset + a, b)


def alibi(slope):
    return lambda i, j: -slope * abs(i - j)


def kerple_log(p):
    return lambda i, j: -math.exp(p["log_r1"]) * math.log(1 + math.exp(p["log_r2"]) * abs(i - j))


def kerple_power(p):
    def bias(i, j):
        power = 2 / (1 + math.exp(-p["logit_r2"]))
        return -math.exp(p["log_r1"]) * abs(i - j) ** power

    return bias


def fire(p, length):
    def psi(x):
        return math.log(p["c"] * x + 1)

    def bias(i, j):
        x = psi(abs(i - j)) / psi(max(i, p["threshold"] * length))
        return sum(
            out * max(0.0, into * x + bias)
            for into, bias, out in zip(p["into"], p["bias"], p["out"], strict=True)
        )

    return bias


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def fox(gate):
    """Gates `[tokens, 1]` before the sigmoid."""
    return lambda i, j: sum(log_sigmoid(gate[at][0]) for at in range(j + 1, i + 1))


def two_sided_fox(back, ahead):
    def bias(i, j):
        if j <= i:
            return sum(log_sigmoid(back[at][0]) for at in range(j + 1, i + 1))
        return sum(log_sigmoid(ahead[at][0]) for at in range(i + 1, j + 1))

    return bias
