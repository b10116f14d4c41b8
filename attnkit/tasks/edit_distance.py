"""Edit distance between strings, many pairs at a time."""

from collections.abc import Sequence

import numpy as np


def edit_distances(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Fewest insertions, deletions and substitutions of characters that turn each `first` into its `second`.

    All pairs go through the table of V. I. Levenshtein, "Binary codes capable of correcting deletions,
    insertions, and reversals" (1966) together, a row at a time. Returns `[pairs]` int64.

    >>> edit_distances(["kitten", "", "null"], ["sitting", "abc", "null"]).tolist()
    [3, 3, 0]
    """
    a, a_length = code_points(first)
    b, b_length = code_points(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} strings against {len(b)}: expected as many")
    columns = np.arange(b.shape[1] + 1)
    row = np.broadcast_to(columns, (len(b), len(columns)))
    result = np.where(a_length == 0, b_length, 0)
    for index in range(a.shape[1]):
        kept = np.minimum(row[:, 1:] + 1, row[:, :-1] + (a[:, index, None] != b))
        step = np.concatenate([row[:, :1] + 1, kept], axis=1)
        row = np.minimum.accumulate(step - columns, axis=1) + columns
        ended = a_length == index + 1
        result[ended] = row[ended, b_length[ended]]
    return result


def code_points(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """`[texts, longest]` int64 code points, -1 behind the end of each text, and `[texts]` lengths."""
    lengths = np.array([len(text) for text in texts], np.int64)
    table = np.full((len(texts), max(map(len, texts), default=0)), -1, np.int64)
    for row, text in zip(table, texts, strict=True):
        row[: len(text)] = [ord(character) for character in text]
    return table, lengths


def character_accuracy(answers: Sequence[str], predictions: Sequence[str]) -> float:
    """Mean over the pairs of 1 - min(1, edit distance / length of the answer)."""
    lengths = np.array([max(len(answer), 1) for answer in answers])
    return float(np.mean(1 - np.minimum(1, edit_distances(answers, predictions) / lengths)))
