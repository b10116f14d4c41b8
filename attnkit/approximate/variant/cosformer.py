"""cosFormer: ReLU features, reweighted by the cosine of the distance."""

import math
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge

from attnkit.approximate.contract import Params, Queries, Rows
from attnkit.approximate.kernel import Features, Kernel
from attnkit.options import options
from attnkit.variant import Card, HeadShape


@options
class Cosformer(Kernel):
    """Linear attention of ReLU features in which near tokens count more; it does not estimate softmax.

    Attributes:
        length: the distance M at which nothing counts any more, at least the number of tokens.
        causal: whether a position sees the past and itself alone.
    """

    card: ClassVar[Card] = Card(
        source="Qin et al. 2022 (cosFormer), arXiv 2202.08791",
        equation="w_ij ~ relu(q_i) . relu(k_j) cos(pi (i - j) / (2 M))",
        sequence_flops="16 * length * dim * dim",
        assumes="M = length is fixed, so that decoding agrees with reading; no small number is added to sums",
    )
    budget: ClassVar[str] = ""
    length: Annotated[int, Ge(1)] = 512
    causal: bool = False

    def width(self, shape: HeadShape) -> int:
        return 2 * shape.dim

    def query_features(self, p: Params, q: Queries, i: Rows) -> Features:
        self.check_length(len(q))
        angle = (math.pi / 2 / self.length * i.astype(q.dtype))[:, None]
        x = jax.nn.relu(q)
        values = jnp.concatenate([x * jnp.cos(angle), x * jnp.sin(angle)], axis=1)
        return Features(values, jnp.zeros(len(q), q.dtype))

    def key_features(self, p: Params, k: Queries, j: Rows) -> Features:
        return self.query_features(p, k, j)
