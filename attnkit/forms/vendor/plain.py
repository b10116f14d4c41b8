"""Plain attention, as vendors compute it: softmax of scaled dot products over a band of keys."""

import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp

from attnkit.forms.sizes import Sizes
from attnkit.masks.all_of import AllOf
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Mask
from attnkit.masks.everything import Everything
from attnkit.masks.window import Window
from attnkit.scored.contract import Normalizer, Position, Scored, Selection
from attnkit.scored.exponential import ExponentialNormalizer
from attnkit.scored.score.dot import Dot

#: hooks of a position part that change scores, weights or values; the others act on each token alone, before
PAIR_HOOKS = ("bias", "transform_logits", "scan_keys", "transform_weights", "value")


@dataclasses.dataclass(frozen=True)
class Band:
    """The keys that a query may attend to: row `r` has the keys from `r - back` to `r + ahead`.

    Rows count from 0, wherever the first query stands. `math.inf` stands for no bound.
    """

    back: float
    ahead: float

    def meets(self, queries: int, keys: int) -> bool:
        """Whether every row has a key."""
        inside = self.ahead >= 0 and queries - 1 - self.back < keys and self.back + self.ahead >= 0
        return bool(queries and keys) and inside

    def bounds(self, queries: int, keys: int) -> tuple[Any, Any]:
        """The first key of each row, and the one after its last."""
        rows, most = jnp.arange(queries), queries + keys
        first = jnp.clip(rows - int(min(self.back, most)), 0, keys)
        return first, jnp.clip(rows + int(min(self.ahead, most)) + 1, 0, keys)


def band_of(mask: Mask, offset: int) -> Band | None:
    """The band that a mask is, for queries from position `offset` on; `None` if it is none."""
    if isinstance(mask, AllOf):
        bands = [band_of(one, offset) for one in mask.masks]
        known = [band for band in bands if band]
        if len(known) < len(bands):
            return None
        return Band(min(band.back for band in known), min(band.ahead for band in known))
    if type(mask) is Everything:
        return Band(math.inf, math.inf)
    if type(mask) is Causal:
        return Band(math.inf, mask.offset + offset)
    if type(mask) is Window:
        return Band(mask.back - offset, mask.ahead + offset)
    return None


def plain_gap(variant: Scored, sizes: Sizes) -> str | None:
    """Why a call is no plain attention with keys for every row; `None` if it is."""
    score, normalizer = variant.score, variant.normalizer
    if type(score) is not Dot:
        return f"score = {type(score).__name__}: expected Dot"
    if not is_softmax(normalizer):
        return f"normalizer = {type(normalizer).__name__}: expected a softmax over keys, or one with a sink"
    for part in variant.position:
        changed = [hook for hook in PAIR_HOOKS if getattr(type(part), hook) is not getattr(Position, hook)]
        if changed or isinstance(part, Selection):
            return f"{type(part).__name__} changes {changed[0] if changed else 'which keys are kept'}"
    if variant.selection:
        return f"{type(variant.selection[0]).__name__} changes which keys are kept"
    if variant.dropout:
        return f"dropout = {variant.dropout}: which weights are dropped would be another choice than ours"
    band = band_of(variant.mask, sizes.offset)
    if band is None:
        return f"mask = {type(variant.mask).__name__}: expected Everything, Causal, Window or all of some"
    if not band.meets(sizes.queries, sizes.keys):
        return f"{sizes.queries} queries and {sizes.keys} keys: a row would have no key"
    return None


def is_softmax(normalizer: Normalizer) -> bool:
    """Whether weights are exponentials of capped scores, divided by their sum and that of no key."""
    own = type(normalizer)
    return (
        isinstance(normalizer, ExponentialNormalizer)
        and normalizer.axis == "keys"
        and own.attend is ExponentialNormalizer.attend
        and own.transform_capped_logits is Normalizer.transform_capped_logits
    )


@functools.cache
def scale_of(score: Dot, dim: int) -> float:
    """The factor of the scores."""
    return float(dim**-0.5 if score.scale is None else score.scale)
