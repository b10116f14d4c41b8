"""Recurrent sequence to sequence in float64, word by word, straight from the papers, with GRU cells."""

import numpy as np
from oracles.cells import sigmoid


def cell(p, h, x):
    """Cho et al. 2014, equations 5 to 8."""
    a = (x @ p["w"]).reshape(3, -1) + p["b"]
    r, z = sigmoid(a[0] + h @ p["u"][0]), sigmoid(a[1] + h @ p["u"][1])
    return z * h + (1 - z) * np.tanh(a[2] + (r * h) @ p["u"][2])


def read(p, source):
    """Annotations (both states at each word), and both last states."""
    forward, backward = [], []
    h = np.zeros(p["forward"]["b"].shape[1])
    for x in source:
        h = cell(p["forward"], h, x)
        forward.append(h)
    h = np.zeros_like(h)
    for x in source[::-1]:
        h = cell(p["backward"], h, x)
        backward.append(h)
    annotations = [np.concatenate(pair) for pair in zip(forward, backward[::-1], strict=True)]
    return annotations, np.concatenate([forward[-1], backward[-1]])


def softmax(scores):
    e = np.exp(np.array(scores) - max(scores))
    return e / e.sum()


def maxout(a):
    return np.array([max(a[2 * n], a[2 * n + 1]) for n in range(len(a) // 2)])


def write(p, kind, source, words):
    """Logits of every step, and the weights of the source at every step."""
    annotations, summary = read(p, source)
    s = np.tanh(summary @ p["bridge"] + p["bridge_bias"])
    feed, logits, weights = np.zeros_like(s), [], []
    for y in words:
        if kind == "luong":
            s = cell(p["cell"], s, np.concatenate([y, feed]))
            w = softmax([s @ (h @ p["matrix"]) for h in annotations])
            found = sum(a * h for a, h in zip(w, annotations, strict=True))
            out = feed = np.tanh(np.concatenate([s, found]) @ p["deep"] + p["deep_bias"])
        else:
            w, found = None, summary
            if kind == "bahdanau":
                w = softmax(
                    [np.tanh(s @ p["of_state"] + h @ p["of_annotation"]) @ p["out"] for h in annotations]
                )
                found = sum(a * h for a, h in zip(w, annotations, strict=True))
            s = cell(p["cell"], s, np.concatenate([y, found]))
            out = maxout(np.concatenate([s, y, found]) @ p["deep"] + p["deep_bias"])
        weights.append(w)
        logits.append(out @ p["readout"])
    return np.array(logits), weights
