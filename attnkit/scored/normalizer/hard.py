"""All weight on the best key."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.option_class import options
from attnkit.scored.contract import Params, Row, Scores
from attnkit.scored.implicit import ImplicitNormalizer
from attnkit.scored.key_passes import FoldKeys
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.variant import Card, MapKind

FAR = jnp.iinfo(jnp.int32).max


@options
class Hard(ImplicitNormalizer):
    """Weight 1 on the key with the highest score (the earliest of equals), with the derivative of softmax.

    The derivative is not that of the output, which is flat, but the straight-through estimate.
    """

    card: ClassVar[Card] = Card(
        source="Xu et al. 2015, arXiv 1502.03044 (hard attention); Bengio et al. 2013, 1308.3432 (estimator)",
        equation="w_j = [j = argmax_l s_l], dw = d softmax(s)",
        pair_flops="3",
    )
    map_kind: ClassVar[MapKind] = "distribution"
    unclaimed: ClassVar[dict[str, str]] = {"differences": "its derivative is an estimate, not its slope"}

    def weights(self, p: Params, s: Scores, threshold: Row, stats: Any, j: Array) -> Scores:
        soft = jnp.exp(s - threshold[:, None])
        chosen: Array = j[None, :] == stats[:, None]
        return chosen + soft - jax.lax.stop_gradient(soft)

    def threshold(self, p: Params, fold_keys: FoldKeys, empty: Row) -> tuple[Row, Any]:
        start = empty - jnp.inf, jnp.full(empty.shape, FAR, jnp.int32)

        def best(state: Any, p: Params, s: Scores, keep: Array, j: Array) -> Any:
            s = jnp.where(keep, s, -jnp.inf)
            top = jnp.maximum(state[0], jnp.max(s, axis=1, initial=-jnp.inf))
            place = jnp.min(jnp.where(s == top[:, None], j.astype(jnp.int32), FAR), axis=1, initial=FAR)
            return top, jnp.minimum(place, jnp.where(state[0] == top, state[1], FAR))

        _, place = fold_keys(best, start)
        return Softmax().threshold(p, fold_keys, empty)[0], place
