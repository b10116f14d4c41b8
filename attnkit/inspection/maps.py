"""Measures of attention maps: where the weight lies, and whether it lies where the answer is.

Weights are plain arrays (numpy or jax) whose last two axes are queries and keys; any axes before them, heads
for example, are kept in the result. Nothing here is drawn; all arithmetic is float64.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from attnkit.errors import DataError


@dataclass(frozen=True)
class Alignment:
    """How far one head's attention lies on the evidence, beside what uniform attention reaches.

    Attributes:
        accuracy: share of the scored rows whose heaviest key is evidence, 0 to 1; NaN if no row is scored.
        mass: mean weight on evidence in the scored rows, 0 to 1 (NaN if a weight there is).
        chance: the control: what attention spread evenly over the allowed keys reaches. Its expected accuracy
            and its mass are the same number, the mean share of allowed keys that are evidence.
        rows: number of rows with evidence, the ones that are scored.
    """

    accuracy: float
    mass: float
    chance: float
    rows: int


@dataclass(frozen=True)
class HeadStatistics:
    """Averages over the rows that attend anywhere, each `[*heads]`; NaN where a weight is NaN.

    Attributes:
        entropy: of a row, in nats: 0 looks at one key, `log(keys)` at all evenly.
        distance: weighted mean of `|query position - key position|`, in tokens.
        offset: weighted mean of `query position - key position`: positive looks back.
        spread: weighted standard deviation of the offset within a row, in tokens.
        previous: weight on the key just before the query.
        same: weight on the key at the query's own position.
        first: weight on key 0, the usual sink.
    """

    entropy: np.ndarray
    distance: np.ndarray
    offset: np.ndarray
    spread: np.ndarray
    previous: np.ndarray
    same: np.ndarray
    first: np.ndarray


class Head(NamedTuple):
    """One head of one layer: the path of the layer, which is the name of its map, and its number, from 0.

    As text it is `L1H3`, layer and head counted from 0, behind the part of the model if that is not the
    self-attention of a decoder.

    >>> [str(Head(path, 3)) for path in ("decoder.1.self", "decoder.0.cross", "encoder.2.self")]
    ['L1H3', 'cross.L0H3', 'encoder.L2H3']
    >>> str(Head("document.pool", 0))
    'document.pool.H0'
    """

    map: str
    head: int

    def __str__(self) -> str:
        return f"{layer_name(self.map)}H{self.head}"


def layer_name(path: str) -> str:
    """The name of a layer: `L1` of `decoder.1.self`, `cross.L1` of `decoder.1.cross`.

    >>> layer_name("encoder.words.0.self")
    'encoder.words.L0'
    """
    parts = path.split(".")
    number = next((f"L{part}" for part in parts if part.isdigit()), "")
    rest = [part for part in parts if not part.isdigit() and part != "self"]
    rest = rest[1:] if rest[:1] == ["decoder"] else rest
    return ".".join([*rest, number])


@dataclass(frozen=True)
class Observation:
    """One example's attention maps and the evidence they are scored against.

    Attributes:
        maps: name -> weights `[heads, queries, keys]`, cut to the example's lengths. Only maps whose keys
            are what the evidence speaks of: cross-attention, or self-attention of a decoder-only model.
        evidence: `[queries, keys]` bool, the keys that truly decide each row; rows of all False do not count.
        allowed: `[queries, keys]` bool, the keys that each row may attend to; `None` means all.
        example: what tells the example from others; `None` if only its maps and evidence do (the uniform
            weights of a mean, for example, are alike for many).
    """

    maps: Mapping[str, Any]
    evidence: np.ndarray = field(repr=False)
    allowed: np.ndarray | None = field(default=None, repr=False)
    example: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class HeadChoice:
    """The head chosen on some examples, and its scores there and on examples it was not chosen on.

    Only `scored` may be reported as the result; `chosen_on` is the optimistic number of the choice itself.
    """

    head: Head
    chosen_on: Alignment
    scored: Alignment


def alignment_accuracy(weights: Any, evidence: Any) -> np.ndarray:
    """Share of rows with evidence whose heaviest key is evidence.

    When several keys are equally heavy the row counts by the share of them that are evidence, so uniform
    weights score exactly chance. A row that has no weight, or a weight that is not finite, counts as wrong.

    Args:
        weights: `[*heads, queries, keys]`.
        evidence: `[queries, keys]` bool.

    Returns:
        `[*heads]` float64 in [0, 1]; NaN if no row has evidence.

    Raises:
        DataError: the last two axes of the two arrays differ.

    >>> weights = [[0.7, 0.2, 0.1], [0.5, 0.1, 0.4]]
    >>> alignment_accuracy(weights, [[True, False, False], [False, False, True]]).item()
    0.5
    """
    weights, evidence = _checked(weights, evidence)
    return _mean_of_rows(_row_hits(weights, evidence), evidence)


def evidence_mass(weights: Any, evidence: Any) -> np.ndarray:
    """Mean weight on evidence over the rows that have evidence: `[*heads]`, NaN if no row has evidence.

    Args and errors are those of `alignment_accuracy`.
    """
    weights, evidence = _checked(weights, evidence)
    return _mean_of_rows(np.where(evidence, weights, 0.0).sum(axis=-1), evidence)


def uniform_alignment(evidence: Any, allowed: Any = None) -> float:
    """The score of evenly spread attention: its expected accuracy, and equally its mass.

    Args:
        evidence: `[queries, keys]` bool.
        allowed: `[queries, keys]` bool, `None` for all keys.

    Raises:
        DataError: the shapes differ.
    """
    shares = _uniform_shares(np.asarray(evidence, dtype=bool), allowed)
    return float(_mean_of_rows(shares, np.asarray(evidence, dtype=bool)))


def align(weights: Any, evidence: Any, allowed: Any = None) -> Alignment:
    """Accuracy, mass and chance of one map `[queries, keys]`: a head, or a mean over heads."""
    weights, evidence = _checked(weights, evidence)
    if weights.ndim != 2:
        raise DataError(
            f"weights has shape {weights.shape}; expected one map [queries, keys]: choose a head first"
        )
    return Alignment(
        accuracy=float(alignment_accuracy(weights, evidence)),
        mass=float(evidence_mass(weights, evidence)),
        chance=uniform_alignment(evidence, allowed),
        rows=int(evidence.any(axis=-1).sum()),
    )


def align_heads(observations: Sequence[Observation]) -> dict[Head, Alignment]:
    """Every head's alignment over all observations, each row with evidence counting once.

    Raises:
        DataError: observations have different maps, or shapes that do not fit.
    """
    hits: dict[Head, list[np.ndarray]] = {}
    masses: dict[Head, list[np.ndarray]] = {}
    shares = []
    for number, observation in enumerate(observations):
        _check_names(observation, observations[0], number)
        evidence = np.asarray(observation.evidence, dtype=bool)
        scored = evidence.any(axis=-1)
        shares.append(_uniform_shares(evidence, observation.allowed)[scored])
        for name, maps in observation.maps.items():
            weights, _ = _checked(maps, evidence)
            row_hits = _row_hits(weights, evidence)[:, scored]
            row_masses = np.where(evidence, weights, 0.0).sum(axis=-1)[:, scored]
            for index in range(len(weights)):
                hits.setdefault(Head(name, index), []).append(row_hits[index])
                masses.setdefault(Head(name, index), []).append(row_masses[index])
    return {
        head: Alignment(_mean(hits[head]), _mean(masses[head]), _mean(shares), sum(map(len, shares)))
        for head in hits
    }


def choose_head(observations: Sequence[Observation]) -> Head:
    """The head with the highest alignment accuracy; of equal ones the one with more mass, then the first.

    Raises:
        DataError: there is no head, or no row with evidence, to choose by.
    """
    scores = align_heads(observations)
    if not scores or not next(iter(scores.values())).rows:
        raise DataError(
            "observations: no row has evidence, so no head can be chosen; give examples with evidence"
        )
    return max(scores, key=lambda head: (scores[head].accuracy, np.nan_to_num(scores[head].mass, nan=-1.0)))


def choose_and_score(choosing: Sequence[Observation], scoring: Sequence[Observation]) -> HeadChoice:
    """Chooses the best head on one set of examples and scores it on another.

    Raises:
        DataError: the sets share an example, are empty, or have no evidence.
    """
    shared = {_digest(o) for o in choosing} & {_digest(o) for o in scoring}
    if shared:
        raise DataError(
            f"choosing and scoring share {len(shared)} example(s); expected disjoint sets: "
            "a head chosen on the scored examples looks better than it is"
        )
    head = choose_head(choosing)
    scored = align_heads(scoring)
    if head not in scored:
        raise DataError(f"scoring has no head {head}; expected the maps of choosing")
    return HeadChoice(head, align_heads(choosing)[head], scored[head])


def entropy(weights: Any) -> np.ndarray:
    """Entropy `-sum w log w` of each row in nats, `[..., queries]`; a row without weight has NaN.

    >>> entropy([[0.5, 0.5], [1.0, 0.0]]).round(4).tolist()
    [0.6931, 0.0]
    """
    weights = np.asarray(weights, dtype=np.float64)
    safe = np.where(weights == 0, 1.0, weights)
    rows = -(weights * np.log(safe, where=safe > 0, out=np.full_like(safe, np.nan))).sum(axis=-1)
    return np.where((weights == 0).all(axis=-1), np.nan, rows + 0.0)


def head_statistics(weights: Any, queries: Any = None, keys: Any = None) -> HeadStatistics:
    """Entropy and distances of every head.

    Args:
        weights: `[*heads, queries, keys]`, rows summing to 1, or to 0 where a row attends to nothing.
        queries: `[queries]` position of each query in tokens, counted from 0 if not given.
        keys: `[keys]` position of each key, the same.
    """
    weights = np.asarray(weights, dtype=np.float64)
    i = np.arange(weights.shape[-2]) if queries is None else np.asarray(queries)
    j = np.arange(weights.shape[-1]) if keys is None else np.asarray(keys)
    offset = (i[:, None] - j[None, :]).astype(np.float64)
    attends = ~(weights == 0).all(axis=-1)
    with np.errstate(invalid="ignore"):
        mean_offset = (weights * offset).sum(axis=-1)
        variance = (weights * np.square(offset - mean_offset[..., None])).sum(axis=-1)
        distance = (weights * np.abs(offset)).sum(axis=-1)

    def mean(rows: np.ndarray) -> np.ndarray:
        count = attends.sum(axis=-1)
        total = np.where(attends, rows, 0.0).sum(axis=-1)
        return np.where(count == 0, np.nan, total / np.maximum(count, 1))

    return HeadStatistics(
        entropy=mean(entropy(weights)),
        distance=mean(distance),
        offset=mean(mean_offset),
        spread=mean(np.sqrt(variance)),
        previous=mean(np.where(offset == 1, weights, 0.0).sum(axis=-1)),
        same=mean(np.where(offset == 0, weights, 0.0).sum(axis=-1)),
        first=mean(np.where(j == 0, weights, 0.0).sum(axis=-1)),
    )


def _checked(weights: Any, evidence: Any) -> tuple[np.ndarray, np.ndarray]:
    weights = np.asarray(weights, dtype=np.float64)
    evidence = np.asarray(evidence, dtype=bool)
    if weights.ndim < 2 or weights.shape[-2:] != evidence.shape:
        raise DataError(
            f"weights has shape {weights.shape} and evidence {evidence.shape}; expected [..., queries, keys] "
            "and [queries, keys]: cut the map to the example's real lengths"
        )
    return weights, evidence


def _row_hits(weights: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    heaviest = weights == weights.max(axis=-1, keepdims=True, initial=0.0)
    heaviest &= np.isfinite(weights).all(axis=-1, keepdims=True) & (weights > 0)
    count = heaviest.sum(axis=-1)
    return (heaviest & evidence).sum(axis=-1) / np.maximum(count, 1)


def _uniform_shares(evidence: np.ndarray, allowed: Any) -> np.ndarray:
    allowed = np.ones_like(evidence) if allowed is None else np.asarray(allowed, dtype=bool)
    if allowed.shape != evidence.shape:
        raise DataError(
            f"allowed has shape {allowed.shape}; expected {evidence.shape}, the shape of evidence"
        )
    return (evidence & allowed).sum(axis=-1) / np.maximum(allowed.sum(axis=-1), 1)


def _mean_of_rows(rows: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    scored = evidence.any(axis=-1)
    if not scored.any():
        return np.full(rows.shape[:-1], np.nan)
    return rows[..., scored].mean(axis=-1)


def _mean(parts: Sequence[np.ndarray]) -> float:
    values = np.concatenate(parts)
    return float(values.mean()) if len(values) else math.nan


def _check_names(observation: Observation, first: Observation, number: int) -> None:
    if list(observation.maps) != list(first.maps):
        raise DataError(
            f"observation {number} has maps {list(observation.maps)}; "
            f"expected {list(first.maps)}, the maps of the first"
        )


def _digest(observation: Observation) -> bytes:
    if observation.example is not None:
        return hashlib.sha256(repr(observation.example).encode()).digest()
    digest = hashlib.sha256(np.packbits(np.asarray(observation.evidence, dtype=bool)).tobytes())
    for name, weights in observation.maps.items():
        array = np.ascontiguousarray(np.asarray(weights, dtype=np.float64))
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()
