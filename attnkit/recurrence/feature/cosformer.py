"""cosFormer: ReLU features, reweighted by the cosine of the distance."""

import math
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, Int

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap, Features
from attnkit.variant import Card


@options
class Cosformer(FeatureMap):
    """ReLU features in which near tokens count more; they do not estimate softmax.

    Attributes:
        length: the distance M at which a weight is zero, at least the number of tokens.
    """

    card: ClassVar[Card] = Card(
        source="Qin et al. 2022 (cosFormer), arXiv 2202.08791",
        equation="f(q_i) . f(k_j) = relu(q_i) . relu(k_j) cos(pi (i - j) / (2 M))",
        assumes="M = length is fixed, so that decoding agrees with reading; no small number is added to sums",
    )
    positive: ClassVar[bool] = True
    positional: ClassVar[bool] = True
    length: Annotated[int, Ge(1)] = 512

    def width(self, dim: int) -> int:
        return 2 * dim

    def features_at(
        self, p: Params, x: Float[Array, "tokens dim"], position: Int[Array, "tokens"] | None
    ) -> Features:
        assert position is not None
        if len(x) > self.length:
            raise ValueError(
                f"Cosformer: length = {self.length} is too short for {len(x)} tokens; set length = {len(x)}"
            )
        angle = (math.pi / 2 / self.length * position.astype(x.dtype))[:, None]
        x = jax.nn.relu(x)
        return Features(jnp.concatenate([x * jnp.cos(angle), x * jnp.sin(angle)], axis=1))
