"""Recurrent cells and convolutions in float64, unit by unit, straight from the papers."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(p, rows):
    """Cho et al. 2014, equations 5 to 8. `p` has W, U and b of reset, update, candidate."""
    h, out = np.zeros(p["u"].shape[1]), []
    for x in rows:
        r = sigmoid(x @ p["w"][0] + h @ p["u"][0] + p["b"][0])
        z = sigmoid(x @ p["w"][1] + h @ p["u"][1] + p["b"][1])
        new = np.tanh(x @ p["w"][2] + (r * h) @ p["u"][2] + p["b"][2])
        h = np.array([z[n] * h[n] + (1 - z[n]) * new[n] for n in range(len(h))])
        out.append(h)
    return np.array(out)


def lstm(p, rows):
    """Gers et al. 2000 without peepholes: forget, input, output, candidate."""
    h = c = np.zeros(p["u"].shape[1])
    out = []
    for x in rows:
        a = [x @ p["w"][n] + h @ p["u"][n] + p["b"][n] for n in range(4)]
        c = sigmoid(a[0]) * c + sigmoid(a[1]) * np.tanh(a[3])
        h = sigmoid(a[2]) * np.tanh(c)
        out.append(h)
    return np.array(out)


def min_gru(p, rows):
    """Feng et al. 2024, section 3.1."""
    h, out = np.zeros(p["b"].shape[1]), []
    for x in rows:
        z = sigmoid(x @ p["w"][0] + p["b"][0])
        h = (1 - z) * h + z * (x @ p["w"][1] + p["b"][1])
        out.append(h)
    return np.array(out)


def windows(rows, width, dilation, causal, segment):
    """For each row the rows of its window, zeros where there is none of the same segment."""
    out = []
    for t in range(len(rows)):
        seen = []
        for n in range(width):
            at = t + (n - (width - 1 if causal else width // 2)) * dilation
            inside = 0 <= at < len(rows) and segment[at] == segment[t]
            seen.append(rows[at] if inside else np.zeros_like(rows[t]))
        out.append(seen)
    return np.array(out)
