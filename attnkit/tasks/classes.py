"""Classes as tokens, and metrics of classification."""

from collections.abc import Sequence

import numpy as np

from attnkit.tasks.contract import Vocabulary


def class_vocabulary(classes: Sequence[str]) -> Vocabulary:
    """The vocabulary of the special tokens and the names of classes."""
    return Vocabulary((*Vocabulary.SPECIAL, *classes), joiner=" ")


def by_class(answers: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """`exact_match`, and `macro_f1`: the mean over the classes of the answers of 2 hits / (said + true).

    >>> by_class(["a", "a", "a", "b"], ["a", "a", "b", "b"])
    {'exact_match': 0.75, 'macro_f1': 0.7333333333333334}
    """
    if not answers:
        return {}
    true, said = np.array(answers), np.array(predictions)
    scores = []
    for name in sorted(set(answers)):
        hits = np.count_nonzero((true == name) & (said == name))
        scores.append(2 * hits / (np.count_nonzero(true == name) + np.count_nonzero(said == name)))
    return {"exact_match": float(np.mean(true == said)), "macro_f1": float(np.mean(scores))}
