"""Nyströmformer: attention through landmarks, which are means of segments."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    Values,
    softmax,
)
from attnkit.approximate.pinv import pinv
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape, Kinds


@options
class Nystromformer(Approximate):
    """Softmax attention approximated from its values at landmarks, and a convolution of the values on top.

    Landmarks are the means of `landmarks` equal segments of the tokens that exist; with as many landmarks as
    tokens, each token is its own, and the error is that of the iterated pseudo-inverse alone. The convolution
    starts at zero. There is no causal form: a landmark is a mean over a segment's future.

    Attributes:
        landmarks: how many segments.
        iterations: steps of the iteration for the pseudo-inverse.
        convolution: odd width of the depthwise convolution along the sequence; 0 for none.
    """

    card: ClassVar[Card] = Card(
        source="Xiong et al. 2021 (Nystromformer), arXiv 2102.03902, and the authors' code",
        equation="o = softmax(q K'^T) pinv(softmax(Q' K'^T)) softmax(Q' k^T) v + conv(v), "
        "all scores / sqrt(dim)",
        sequence_flops="8 * length * landmarks * dim + 6 * landmarks * landmarks * landmarks * iterations",
        assumes="each head's pseudo-inverse starts from its own norms, not from the largest of a batch",
    )
    budget: ClassVar[str] = "landmarks"
    landmarks: Annotated[int, Ge(1)] = 64
    iterations: Annotated[int, Ge(1)] = 6
    convolution: Annotated[int, Ge(0)] = 33

    def __post_init__(self) -> None:
        if self.convolution and self.convolution % 2 == 0:
            raise ValueError(f"convolution = {self.convolution} must be odd, or 0 for none")

    kinds: ClassVar[Kinds] = {"convolution": "vector"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"convolution": jnp.zeros((shape.heads, self.convolution))} if self.convolution else {}

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        segment = jnp.arange(k.shape[0]) * self.landmarks // jnp.maximum(length, 1)
        member = segment == jnp.arange(self.landmarks)[:, None]
        member &= jnp.arange(k.shape[0]) < length
        used, mean = jnp.any(member, axis=1), member / jnp.maximum(jnp.sum(member, axis=1, keepdims=True), 1)
        scale = q.shape[1] ** -0.5
        queries, keys = mean @ q * scale, mean @ k
        down = softmax(q @ keys.T * scale, used & (i[:, None] >= 0))
        core = softmax(queries @ keys.T, used[:, None] & used)
        up = softmax(queries @ k.T, used[:, None] & (jnp.arange(k.shape[0]) < length))
        output = down @ (pinv(core, self.iterations) @ (up @ v))
        return output + convolve(p["convolution"], v) if self.convolution else output


def convolve(weight: Float[Array, "width"], v: Values) -> Values:
    """Every channel of `v` correlated with `weight` along the sequence, zeros beyond both ends."""
    return jax.vmap(lambda channel: jnp.correlate(channel, weight, mode="full"), 1, 1)(v)[
        len(weight) // 2 : len(weight) // 2 + len(v)
    ]
