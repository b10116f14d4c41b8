"""Relative positions with learned vectors, straight from their papers, one head, NumPy float64."""

import math

import numpy as np


def t5_bucket(relative, count, max_distance, two_sided):
    """The authors' function for one number; the small term undoes the rounding of logarithms at edges."""
    bucket, n = 0, -relative
    if two_sided:
        count //= 2
        if n < 0:
            bucket, n = count, -n
    else:
        n = max(n, 0)
    exact = count // 2
    if n < exact:
        return bucket + n
    large = exact + math.floor(math.log(n / exact) / math.log(max_distance / exact) * (count - exact) + 1e-9)
    return bucket + min(large, count - 1)


def t5(q, k, p, offset, count, max_distance, two_sided):
    def score(a, b):
        bucket = t5_bucket(b - (offset + a), count, max_distance, two_sided)
        return np.dot(q[a], k[b]) + p["bias"][bucket]

    return score


def clip(x, k):
    return max(-k, min(k, x))


def shaw(q, k, p, offset, max_distance):
    def score(a, b):
        vector = p["key"][clip(b - (offset + a), max_distance) + max_distance]
        return np.dot(q[a], k[b] + vector) / math.sqrt(len(q[a]))

    return score


def shaw_value(p, offset, max_distance):
    return lambda a, b: p["value"][clip(b - (offset + a), max_distance) + max_distance]


def music(q, k, p, offset, max_distance):
    def score(a, b):
        back = min(offset + a - b, max_distance)
        return np.dot(q[a], k[b] + p["distance"][max_distance - back]) / math.sqrt(len(q[a]))

    return score


def skewed(q, vectors):
    """`S_rel` of Music Transformer by its skewing; of `L` vectors, `r` is for `j - i = r - (L - 1)`."""
    length = len(q)
    product = q @ vectors.T
    padded = np.concatenate([np.zeros((length, 1)), product], axis=1)
    return padded.reshape(length + 1, length)[1:]


def transformer_xl(q, k, p, offset):
    width = p["project"].shape[1]

    def sinusoid(distance):
        r = np.zeros(width)
        for c in range(width // 2):
            angle = distance / 10000 ** (2 * c / width)
            r[2 * c], r[2 * c + 1] = math.sin(angle), math.cos(angle)
        return r

    def score(a, b):
        place = p["project"] @ sinusoid(offset + a - b)
        content_content = np.dot(q[a], k[b])
        content_place = np.dot(q[a], place)
        any_content = np.dot(p["content"], k[b])
        any_place = np.dot(p["place"], place)
        return (content_content + content_place + any_content + any_place) / math.sqrt(len(q[a]))

    return score
