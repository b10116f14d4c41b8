"""How drawn token ids become a batch: answers after a prompt, at some places, or beside a source.

Arguments are `[rows, width]` token ids with `PAD` behind the end of each row. The widths of what comes back
depend on the widths of the arguments alone, never on their content.
"""

import numpy as np

from attnkit.tasks.contract import Batch, Example, Vocabulary

PAD, BEGIN = Vocabulary.PAD, Vocabulary.BEGIN


def lengths(ids: np.ndarray) -> np.ndarray:
    """`[rows]` int32: tokens of each row before its padding."""
    return np.count_nonzero(ids != PAD, axis=1).astype(np.int32)


def behind(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Each row of `second` right behind the same row of `first`, padded.

    >>> behind(np.array([[5, 0, 0], [6, 7, 8]]), np.array([[9, 0], [9, 3]])).tolist()
    [[5, 9, 0, 0, 0], [6, 7, 8, 9, 3]]
    """
    joined = np.pad(first, ((0, 0), (0, second.shape[1])))
    np.put_along_axis(joined, lengths(first)[:, None] + np.arange(second.shape[1]), second, axis=1)
    return joined


def after_prompt(prompts: np.ndarray, answers: np.ndarray) -> Batch:
    """For a decoder: `BEGIN`, the prompt and the answer in one row; only the answer counts.

    >>> batch = after_prompt(np.array([[5, 6, 0], [7, 8, 9]]), np.array([[5, 2], [2, 0]]))
    >>> batch["inputs"].tolist(), batch["labels"].tolist()
    ([[1, 5, 6, 5, 0], [1, 7, 8, 9, 0]], [[0, 0, 5, 2, 0], [0, 0, 0, 2, 0]])
    """
    whole = behind(prompts, answers)
    place, start = np.arange(whole.shape[1]), lengths(prompts)[:, None]
    end = start + lengths(answers)[:, None]
    inputs = np.pad(whole[:, :-1], ((0, 0), (1, 0)), constant_values=BEGIN)
    return counted(
        np.where(place < np.maximum(end, start + 1), inputs, PAD),
        np.where((place >= start) & (place < end), whole, PAD),
    )


def at_places(tokens: np.ndarray, labels: np.ndarray) -> Batch:
    """For a decoder: `BEGIN` and the tokens; `labels`, shaped like `tokens`, count where they are not `PAD`.

    `labels[:, t]` is to be predicted once `tokens[:, t]` has been read.

    >>> {name: array.tolist() for name, array in at_places(np.array([[5, 6]]), np.array([[0, 7]])).items()}
    {'inputs': [[1, 5, 6]], 'labels': [[0, 0, 7]], 'weights': [[0.0, 0.0, 1.0]]}
    """
    return counted(np.pad(tokens, ((0, 0), (1, 0)), constant_values=BEGIN), np.pad(labels, ((0, 0), (1, 0))))


def beside_source(sources: np.ndarray, answers: np.ndarray) -> Batch:
    """For an encoder-decoder: the source, and the answer that is written beside it.

    >>> batch = beside_source(np.array([[5, 6, 0]]), np.array([[7, 8, 2, 0]]))
    >>> batch["inputs"].tolist(), batch["labels"].tolist(), batch["source_length"].tolist()
    ([[1, 7, 8, 0]], [[7, 8, 2, 0]], [2])
    """
    return answered(answers) | sourced(sources)


def unanswered(prompt: str, features: np.ndarray) -> Example:
    """A user's own `features [places, width]` as an example without answer."""
    return Example(prompt, "", None, (Vocabulary.BEGIN,), (), source_features=features.astype(np.float32))


def beside_vectors(features: np.ndarray, answers: np.ndarray) -> Batch:
    """The same beside `features [rows, places, width]`, all of which exist; an answer may be a class alone.

    >>> beside_vectors(np.zeros((1, 5, 3)), np.array([[7]]))["source_length"].tolist()
    [5]
    """
    length = np.full(len(features), features.shape[1], np.int32)
    return answered(answers) | {"source_features": features.astype(np.float32), "source_length": length}


def answered(answers: np.ndarray) -> Batch:
    """Decoder inputs and labels of answers that nothing stands before but `BEGIN`."""
    inputs = np.pad(answers[:, :-1], ((0, 0), (1, 0)), constant_values=BEGIN)
    inputs[:, 1:][answers[:, 1:] == PAD] = PAD
    return counted(inputs, answers)


def classified(sources: np.ndarray, classes: np.ndarray) -> Batch:
    """One label for each source: `classes [rows]` are token ids. An encoder-decoder reads `BEGIN` alone.

    >>> classified(np.array([[5, 6]]), np.array([7]))["labels"].tolist()
    [[7]]
    """
    return counted(np.full((len(classes), 1), BEGIN), classes[:, None]) | sourced(sources)


def counted(inputs: np.ndarray, labels: np.ndarray) -> Batch:
    """Decoder inputs and labels, which count where they are not `PAD`."""
    return {
        "inputs": inputs.astype(np.int32),
        "labels": labels.astype(np.int32),
        "weights": (labels != PAD).astype(np.float32),
    }


def sourced(sources: np.ndarray) -> Batch:
    """Encoder inputs."""
    return {"source": sources.astype(np.int32), "source_length": lengths(sources)}
