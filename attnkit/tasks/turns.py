"""Measures of dialogue tasks: how often the answer is right, by how many turns back it was said."""

from collections.abc import Sequence

import numpy as np

from attnkit.tasks.contract import Example, Vocabulary


def by_distance(distances: Sequence[int], right: Sequence[bool]) -> dict[str, float]:
    """Share that is right for the distances 1, 2, 3 to 4, 5 to 8, and so on, in turns back.

    >>> by_distance([1, 1, 3, 4], [True, False, True, True])
    {'right_1_turn_back': 0.5, 'right_3_to_4_turns_back': 1.0}
    """
    found: dict[int, list[bool]] = {}
    for distance, one in zip(distances, right, strict=True):
        found.setdefault(max(distance - 1, 0).bit_length(), []).append(one)
    return {name(level): float(np.mean(found[level])) for level in sorted(found)}


def name(level: int) -> str:
    """The metric of the distances from `2 ** (level - 1) + 1` to `2 ** level`."""
    last = 2**level
    first = last // 2 + 1
    if first >= last:
        return f"right_{last}_turn{'s' * (last > 1)}_back"
    return f"right_{first}_to_{last}_turns_back"


def words_by_distance(
    vocabulary: Vocabulary, examples: Sequence[Example], predictions: Sequence[str]
) -> dict[str, float]:
    """`by_distance` of every word of the answers that has evidence; the earliest turn it follows from counts.

    A prediction is compared word by word with the answer; the examples have turns (`segment`) and evidence.
    """
    distances: list[int] = []
    right: list[bool] = []
    for example, prediction in zip(examples, predictions, strict=True):
        if example.evidence is None or example.segment is None:
            continue
        said = prediction.split(vocabulary.joiner or None)
        for row in np.flatnonzero(example.evidence.any(axis=1)):
            first = int(np.flatnonzero(example.evidence[row])[0])
            distances.append(example.segment[-1] - example.segment[first])
            wanted = vocabulary.tokens[example.labels[row]]
            right.append(bool(row < len(said) and said[row] == wanted))
    return by_distance(distances, right)
