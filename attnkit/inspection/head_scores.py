"""Scores of heads: how much of their weight lies where a known kind of head would look.

Weights are maps `[batch, heads, queries, keys]` of self-attention; scores are `[heads]`, shares from 0 to 1.
Signed maps and shares are divided by the sum of their sizes in each row first (`shares`).
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

Weights = Float[Any, "batch heads queries keys"]
Tokens = Int[Any, "batch tokens"]
Scores = Float[np.ndarray, "heads"]
Rows = Any


def shares(weights: Any) -> np.ndarray:
    """Sizes of weights as shares of their row; rows without weight stay zero.

    >>> shares([[1.0, -3.0], [0.0, 0.0]]).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    sizes = np.abs(np.asarray(weights, np.float64))
    total = sizes.sum(axis=-1, keepdims=True)
    return np.where(total > 0, sizes / np.where(total > 0, total, 1), 0)


def mass(weights: Any, marked: Any, real: Any = None) -> np.ndarray:
    """Mean share of the weight on marked pairs, `[heads]`, over the rows that have one; NaN if none has.

    Args:
        weights: `[batch, heads, queries, keys]`.
        marked: `[batch, queries, keys]` bool.
        real: `[batch, queries]` bool, the rows that count; all if not given.
    """
    marked = np.broadcast_to(np.asarray(marked, bool), np.shape(weights)[:1] + np.shape(weights)[2:])
    rows = marked.any(axis=-1) if real is None else marked.any(axis=-1) & np.asarray(real, bool)
    if not rows.any():
        return np.full(np.shape(weights)[1], np.nan)
    found = np.where(marked[:, None], shares(weights), 0).sum(axis=-1)
    return np.where(rows[:, None], found, 0).sum(axis=(0, 2)) / rows.sum()


def pairs(tokens: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places with the same token, and pairs with the key first: `[batch, queries, keys]`."""
    tokens = np.asarray(tokens)
    earlier = np.tri(tokens.shape[1], k=-1, dtype=bool)
    return tokens[:, :, None] == tokens[:, None, :], np.broadcast_to(earlier, (len(tokens), *earlier.shape))


def near(weights: Any, back: int) -> np.ndarray:
    """Pairs whose key is `back` places before the query, `[queries, keys]`."""
    queries, keys = np.shape(weights)[-2:]
    return np.eye(queries, keys, k=-back, dtype=bool)


def previous_token(weights: Weights, real: Rows = None) -> Scores:
    """Weight on the token before. Source: Voita et al. 2019, arXiv 1905.09418 (positional heads)."""
    return mass(weights, near(weights, 1), real)


def same_token(weights: Weights, real: Rows = None) -> Scores:
    """Weight on the token itself."""
    return mass(weights, near(weights, 0), real)


def duplicate_token(weights: Weights, tokens: Tokens, real: Rows = None) -> Scores:
    """Weight on earlier places with the query's token. Source: Wang et al. 2022, arXiv 2211.00593."""
    same, earlier = pairs(tokens)
    return mass(weights, same & earlier, real)


def prefix_matching(weights: Weights, tokens: Tokens, real: Rows = None) -> Scores:
    """Weight on the places after earlier ones with the query's token: what an induction head looks at.

    Source: Olsson et al. 2022, "In-context learning and induction heads", transformer-circuits.pub.
    """
    same, earlier = pairs(tokens)
    after = np.zeros_like(same)
    after[:, :, 1:] = (same & earlier)[:, :, :-1]
    return mass(weights, after & (earlier | np.eye(earlier.shape[1], dtype=bool)), real)


def induction(weights: Weights, period: int) -> Scores:
    """Weight `period - 1` places back, from the second period on, of tokens that repeat with that period.

    On `repeated_tokens` it is prefix matching without chance.
    """
    count = np.shape(weights)[-1]
    marked = np.eye(count, k=-(period - 1), dtype=bool)
    marked[:period] = False
    return mass(weights, marked)


def repeated_tokens(vocabulary: int, period: int, batch: int, times: int = 2, seed: int = 0) -> np.ndarray:
    """Random tokens `[batch, times * period]` that repeat, each period without a token twice.

    Raises:
        ValueError: if there are fewer tokens than a period has places.
    """
    if vocabulary < period:
        raise ValueError(f"vocabulary = {vocabulary}: expected at least period = {period}")
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(vocabulary)[:period] for _ in range(batch)])
    return np.tile(rows, times)


def positional(weights: Weights, real: Rows = None) -> Scores:
    """Overlap `sum_j min(w_ij, mean w_ij)` of each example's rows with the mean over examples.

    It is 1 for a head whose pattern is the same for all texts, and less the more the text decides.
    """
    each = shares(weights)
    overlap = np.minimum(each, each.mean(axis=0, keepdims=True)).sum(axis=-1)
    rows = each.sum(axis=-1) > 0
    rows = rows if real is None else rows & np.asarray(real, bool)[:, None]
    return np.where(rows, overlap, 0).sum(axis=(0, 2)) / np.maximum(rows.sum(axis=(0, 2)), 1)


def separator(weights: Weights, tokens: Tokens, separators: Any) -> Scores:
    """Weight on tokens of some kinds, such as `<begin>` and full stops.

    Source: Clark et al. 2019, arXiv 1906.04341.
    """
    marked = np.isin(np.asarray(tokens), np.asarray(separators))[:, None, :]
    return mass(weights, np.broadcast_to(marked, np.shape(weights)[:1] + np.shape(weights)[2:]))


def first_token(weights: Weights, real: Rows = None) -> Scores:
    """Weight on the first token, the usual sink. Source: Xiao et al. 2023, arXiv 2309.17453."""
    marked = np.zeros(np.shape(weights)[-2:], bool)
    marked[:, 0] = True
    return mass(weights, marked, real)


def copying(
    embedding: Float[Any, "vocabulary model_dim"],
    ov: Float[Any, "heads model_dim model_dim"],
    unembedding: Float[Any, "model_dim vocabulary"],
) -> Scores:
    """`sum of eigenvalues / sum of their sizes` of each head's `embedding @ ov @ unembedding`, from -1 to 1.

    1 means that attending to a token raises the logit of the same token. The eigenvalues of the product are
    those of `ov @ unembedding @ embedding` beside zeros.

    Source: Elhage et al. 2021, "A mathematical framework for transformer circuits", transformer-circuits.pub.
    """
    around = np.asarray(unembedding, np.float64) @ np.asarray(embedding, np.float64)
    values = np.linalg.eigvals(np.asarray(ov, np.float64) @ around)
    total = np.abs(values).sum(axis=-1)
    return np.where(total > 0, values.real.sum(axis=-1) / np.where(total > 0, total, 1), 0)


def value_weighted(weights: Weights, values: Float[Any, "batch heads keys value_dim"]) -> np.ndarray:
    """Sizes `|w_ij| |v_j|` of what each key adds to a head's output, `[batch, heads, queries, keys]`.

    Source: Kobayashi et al. 2020, arXiv 2004.10102, without the output projection.
    """
    norms = np.linalg.norm(np.asarray(values, np.float64), axis=-1)
    return np.abs(np.asarray(weights, np.float64)) * norms[:, :, None, :]


def distances(weights: Weights, most: int) -> np.ndarray:
    """Shares of the weight by how many tokens back it lies: `[heads, most + 1]`, the last for all farther.

    Rows sum to 1 less the weight on later tokens.
    """
    each = shares(weights)
    back = np.arange(each.shape[2])[:, None] - np.arange(each.shape[3])
    rows = np.maximum((each.sum(axis=-1) > 0).sum(axis=(0, 2)), 1)
    parts = [each[..., back == n].sum(axis=(0, 2)) for n in range(most)]
    return np.stack([*parts, each[..., back >= most].sum(axis=(0, 2))], axis=1) / rows[:, None]


def profile(weights: Weights, tokens: Tokens, real: Rows = None) -> dict[str, Scores]:
    """The scores that need tokens alone, by name; 0 where no row has a place to look at.

    Args:
        weights: of self-attention.
        tokens: what it reads.
        real: `[batch, tokens]` bool, those that are no padding.
    """
    ids = np.asarray(tokens)
    if real is not None:  # padding is no duplicate of padding
        ids = np.where(real, ids, -1 - np.arange(ids.shape[1]))
    found = {
        "previous token": previous_token(weights, real),
        "same token": same_token(weights, real),
        "first token": first_token(weights, real),
        "duplicate token": duplicate_token(weights, ids, real),
        "prefix matching": prefix_matching(weights, ids, real),
    }
    return {name: np.nan_to_num(scores) for name, scores in found.items()}
