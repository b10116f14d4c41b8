"""How a row of scores becomes weights, one number at a time, from the papers' equations."""

import math


def softmax(s, extra=0.0):
    top = max(s)
    total = sum(math.exp(x - top) for x in s) + extra * math.exp(-top)
    return [math.exp(x - top) / total for x in s]


def softpick(s):
    over = [math.exp(x) - 1 for x in s]
    return [max(x, 0) / sum(map(abs, over)) for x in over]


def sigmoid(s, bias):
    return [1 / (1 + math.exp(-(x + bias))) for x in s]


def relu(s, power):
    return [max(x, 0.0) ** power / len(s) for x in s]


def gelu(s):
    return [0.5 * x * (1 + math.erf(x / math.sqrt(2))) / len(s) for x in s]


def entmax(s, alpha):
    """The threshold by halving an interval that must hold it."""

    def weights(tau):
        return [max((alpha - 1) * x - tau, 0.0) ** (1 / (alpha - 1)) for x in s]

    low, high = (alpha - 1) * max(s) - 1, (alpha - 1) * max(s)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weights(middle)) > 1 else (low, middle)
    return weights((low + high) / 2)


def top_k(s, k):
    chosen = sorted(range(len(s)), key=lambda n: (-s[n], n))[:k]
    inside = softmax([s[n] for n in chosen])
    return [inside[chosen.index(n)] if n in chosen else 0.0 for n in range(len(s))]


def hard(s):
    return [1.0 if n == s.index(max(s)) else 0.0 for n in range(len(s))]


def stick_breaking(s):
    weights, left = [0.0] * len(s), 1.0
    for n in reversed(range(len(s))):
        share = 1 / (1 + math.exp(-s[n]))
        weights[n] = share * left
        left *= 1 - share
    return weights
