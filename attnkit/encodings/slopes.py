"""Slopes of linear biases."""

import math

import numpy as np


def slopes(heads: int) -> np.ndarray:
    """ALiBi's slope of each head: `2^(-8 h / heads)` for h = 1..heads if `heads` is a power of two.

    Otherwise the slopes of the next smaller power of two, followed by every second slope of the next
    larger one, as in the authors' code.

    Source: Press, Smith & Lewis 2021, arXiv 2108.12409, section 3.

    >>> slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    power = 2 ** math.floor(math.log2(heads))
    own = 2.0 ** (-8.0 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-8.0 * np.arange(1, 2 * power + 1, 2) / (2 * power))
    return np.concatenate([own, between[: heads - power]])
