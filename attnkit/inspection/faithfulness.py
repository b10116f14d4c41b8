"""Faithfulness: whether what an explanation ranks high is what the model's output depends on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attnkit.inspection.heads import Metric, Model
from attnkit.points import observe


class Curves(NamedTuple):
    """The metric while tokens are taken away or brought back, the most important first.

    Attributes:
        deletion: `[steps + 1, batch]`, of the text without its first `n` tokens; starts whole.
        insertion: `[steps + 1, batch]`, of the first `n` tokens alone; starts with none.
    """

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def comprehensiveness(self) -> np.ndarray:
        """Mean fall of the metric by deletion, `[batch]`: large if what was ranked high matters."""
        return (self.deletion[:1] - self.deletion[1:]).mean(axis=0)

    @property
    def sufficiency(self) -> np.ndarray:
        """Mean distance of insertion from the whole, `[batch]`: small if what was ranked high is enough."""
        return (self.deletion[:1] - self.insertion[1:]).mean(axis=0)


def ranking_curves(
    f: Callable[[Array], Any],
    metric: Metric,
    tokens: Int[Array, "batch tokens"],
    importance: Float[Array, "batch tokens"],
    *,
    fill: int,
    fixed: Any = None,
    steps: int | None = None,
) -> Curves:
    """Deletion and insertion curves of a ranking of tokens.

    Args:
        f: the model, of its tokens.
        metric: of its output: a number for each example.
        tokens: the texts.
        importance: of each token; the largest are taken first.
        fill: the token that stands for one that is taken away.
        fixed: `[batch, tokens]` bool, tokens that are never taken away (padding, the question asked).
        steps: how many tokens are taken one by one; all if not given.

    Source: Petsiuk et al. 2018 (RISE), arXiv 1806.07421; comprehensiveness and sufficiency DeYoung et al.
    2020 (ERASER), arXiv 1911.03429.
    """
    ids, values = np.asarray(tokens), np.asarray(importance, np.float64)
    held = np.zeros(ids.shape, bool) if fixed is None else np.asarray(fixed, bool)
    order = np.argsort(np.argsort(-np.where(held, -np.inf, values), axis=1, kind="stable"), axis=1)
    count = steps or int((~held).sum(axis=1).max())
    taken = (order[None] < np.arange(count + 1)[:, None, None]) & ~held
    texts = [np.where(taken, fill, ids), np.where(taken | held, ids, fill)]
    run = jax.jit(lambda texts: jax.lax.map(lambda one: metric(f(one)), texts))
    deletion, insertion = (np.asarray(run(jnp.asarray(one)), np.float64) for one in texts)
    return Curves(deletion, insertion)


def random_ranking(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Importance drawn at random: the control beside every ranking."""
    return np.random.default_rng(seed).random(tuple(shape))


def with_uniform_attention(f: Model, paths: Sequence[str], *args: Any) -> Any:
    """The model's output where the layers at `paths` attend evenly to all keys that have weight: a control.

    Source: Wiegreffe & Pinter 2019, arXiv 1908.04626, section 3.2 (uniform weights).
    """

    def even(w: Array) -> Array:
        some = w != 0
        return some / jnp.maximum(some.sum(axis=3, keepdims=True), 1)

    return observe(f, edit={f"{path}.weights": even for path in paths})(*args).output


def found(importance: Float[np.ndarray, "batch tokens"], evidence: Any) -> float:
    """Share of the examples whose most important token is evidence, ties counting in part.

    >>> found(np.array([[0.1, 0.7, 0.2]]), [[False, True, False]])
    1.0
    """
    values, marked = np.asarray(importance, np.float64), np.asarray(evidence, bool)
    best = values == values.max(axis=1, keepdims=True)
    rows = marked.any(axis=1)
    return float(((best & marked).sum(axis=1) / best.sum(axis=1))[rows].mean())
