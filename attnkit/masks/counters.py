"""Random bits that are a pure function of numbers, alike in numpy and JAX, in every form and block."""

from typing import Any

import numpy as np

ALL = 0xFFFFFFFF


def scramble(word: Any) -> Any:
    """A bijection of 32-bit words in which every input bit flips every output bit half of the time.

    Source: the finalizer of MurmurHash3 (A. Appleby, public domain).
    """
    word = (word ^ (word >> 16)) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * np.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def random_bits(seed: Any, *counters: Any) -> Any:
    """A 32-bit random word for every combination of `counters`, broadcast against each other.

    Args:
        seed: an integer, or an integer array; only its low 32 bits count.
        counters: integer arrays, negative ones too.
    """
    word = np.uint32(seed & ALL) if isinstance(seed, int) else seed.astype("uint32")
    with np.errstate(over="ignore"):
        for counter in counters:
            word = scramble(word ^ scramble(counter.astype("uint32") * np.uint32(0x9E3779B9) + word))
    return word
