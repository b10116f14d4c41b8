"""Linear attention."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Inputs, LinearRecurrent, Params, Transition
from attnkit.recurrent.feature.elu_plus_one import EluPlusOne
from attnkit.recurrent.feature_map import FeatureMap
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Linear(LinearRecurrent):
    """Softmax attention with `exp(q . k)` replaced by a scalar product of features, without decay.

    The normalizer is one more column of the state, whose values are all 1. A query whose
    products are all zero reads zeros.

    Attributes:
        feature: map of queries and keys.
        normalizer: whether outputs are divided by the sum of the weights.
    """

    card: ClassVar[Card] = Card(
        source="Katharopoulos et al. 2020, arXiv 2006.16236",
        equation="S_t = S_{t-1} + phi(k_t) v_t^T, z_t likewise of ones, o_t = phi(q_t).S_t / phi(q_t).z_t",
        state="heads * features * (value_dim + 1)",
        assumes="with the normalizer, features that are not negative",
    )
    feature: FeatureMap = EluPlusOne()
    normalizer: bool = True

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
        }

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        sides = zip(("query", "key"), jax.random.split(key), strict=True)
        return {f"{side}_{n}": a for side, k in sides for n, a in self.feature.init(k, shape).items()}

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.feature.width(shape.dim), shape.value_dim + self.normalizer

    def features(
        self, p: Params, side: str, x: Float[Array, "tokens dim"]
    ) -> Float[Array, "tokens features"]:
        """Features of queries or keys, with the parameters of that side."""
        own = {name.removeprefix(f"{side}_"): a for name, a in p.items() if name.startswith(f"{side}_")}
        return self.feature.features(own, x)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens features"]:
        return self.features(p, "query", x["q"])

    def write(self, p: Params, x: Inputs) -> Transition:
        v = x["v"]
        if self.normalizer:
            v = jnp.concatenate([v, jnp.ones_like(v[:, :1])], axis=-1)
        return Transition(self.features(p, "key", x["k"]), v)

    def readout(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        if not self.normalizer:
            return o
        total = o[:, -1:]
        return jnp.where(total == 0, 0, o[:, :-1] / jnp.where(total == 0, 1, total))
