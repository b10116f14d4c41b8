"""Rotary embeddings with complex numbers, straight from their papers, one head, NumPy float64."""

import cmath
import math

import numpy as np


def speeds(dim, base=10000.0):
    return [base ** (-2 * c / dim) for c in range(dim // 2)]


def by_parts(dim, base, factor, length, least, most):
    made = []
    for speed in speeds(dim, base):
        wavelength = 2 * math.pi / speed
        turns = length / wavelength
        if turns < least:
            keep = 0.0
        elif turns > most:
            keep = 1.0
        else:
            keep = (turns - least) / (most - least)
        made.append((1 - keep) * speed / factor + keep * speed)
    return made


def turn(x, position, speeds):
    """One vector with the pair (c, c + dim / 2) as a complex number times `exp(i position speed)`."""
    half = len(x) // 2
    out = np.zeros(len(x))
    for c in range(half):
        z = complex(x[c], x[c + half]) * cmath.exp(1j * position * speeds[c])
        out[c], out[c + half] = z.real, z.imag
    return out


def rotary(q, k, offset, speeds, sharp=1.0):
    def score(a, b):
        return sharp * np.dot(turn(q[a], offset + a, speeds), turn(k[b], b, speeds)) / math.sqrt(len(q[a]))

    return score


def rotary_2d(q, k, offset, width, base):
    half = q.shape[1] // 2

    def turned(x, n):
        row, column = divmod(n, width)
        parts = turn(x[:half], row, speeds(half, base)), turn(x[half:], column, speeds(half, base))
        return np.concatenate(parts)

    def score(a, b):
        return np.dot(turned(q[a], offset + a), turned(k[b], b)) / math.sqrt(len(q[a]))

    return score


def xpos(q, k, offset, gamma, length):
    dim = q.shape[1]

    def score(a, b):
        turned_q, turned_k = turn(q[a], offset + a, speeds(dim)), turn(k[b], b, speeds(dim))
        total = 0.0
        for c in range(dim):
            zeta = ((c % (dim // 2)) / (dim // 2) + gamma) / (1 + gamma)
            total += turned_q[c] * turned_k[c] * zeta ** ((offset + a - b) / length)
        return total / math.sqrt(dim)

    return score


def qk_norm(q, k, p, epsilon):
    def scaled(x):
        return x / math.sqrt(np.mean(x * x) + epsilon)

    return lambda a, b: np.dot(scaled(q[a]) * p["gain"], scaled(k[b])) / math.sqrt(len(q[a]))


def sinusoidal(q, k, offset, base):
    dim = q.shape[1]

    def moved(x, position):
        out = x.copy()
        for c in range(dim // 2):
            out[2 * c] += math.sin(position / base ** (2 * c / dim))
            out[2 * c + 1] += math.cos(position / base ** (2 * c / dim))
        return out

    return lambda a, b: np.dot(moved(q[a], offset + a), moved(k[b], b)) / math.sqrt(dim)


def learned(q, k, p, offset):
    def score(a, b):
        return np.dot(q[a] + p["query"][offset + a], k[b] + p["key"][b]) / math.sqrt(len(q[a]))

    return score


def mrope(q, k, places, offset, sections, base):
    """`places[n]` are time, row and column of token `n`; `sections` pairs turn by each."""
    dim = q.shape[1]
    axis = [n for n, pairs in enumerate(sections) for _ in range(pairs)]

    def turned(x, token):
        angles = [places[token][axis[c]] * s for c, s in enumerate(speeds(dim, base))]
        return turn(x, 1, angles)

    return lambda a, b: np.dot(turned(q[a], offset + a), turned(k[b], b)) / math.sqrt(dim)


def selective_rotary(q, k, angle, offset, base):
    """`angle[n]` are what token `n` adds to the angles of the pairs, before their speeds."""
    dim = q.shape[1]

    def turned(x, token):
        return turn(x, 1, [sum(angle[: token + 1, c]) * s for c, s in enumerate(speeds(dim, base))])

    return lambda a, b: np.dot(turned(q[a], offset + a), turned(k[b], b)) / math.sqrt(dim)
