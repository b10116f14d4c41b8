"""Softmax of scores with Gumbel noise."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Gt
from jaxtyping import Array, Float, UInt32

from attnkit.masks.counters import scramble
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Params, Rows, Scores
from attnkit.scored.exponential import ExponentialNormalizer
from attnkit.variant import Card, MapKind


def gumbel_noise(seed: UInt32[Array, "2"], i: Rows, j: Columns) -> Float[Array, "queries keys"]:
    """Standard Gumbel noise `-log(-log u)`, a pure function of (seed, i, j): the same in all forms."""
    rows = scramble(i.astype(jnp.uint32) * jnp.uint32(0x9E3779B9) + seed[0])
    columns = scramble(j.astype(jnp.uint32) * jnp.uint32(0x85EBCA77) + seed[1])
    word = scramble(rows[:, None] ^ columns[None, :])
    # 23 bits in the middle of their cells: neither 0 nor 1, in float32 too.
    share = ((word >> 9).astype(jnp.float32) + 0.5) * 2**-23
    return -jnp.log(-jnp.log(share))


def perturbed(p: Params, s: Scores, i: Rows, j: Columns, temperature: float) -> Scores:
    """Scores with noise, if there is a seed, divided by the temperature."""
    noise = gumbel_noise(p.seed, i, j).astype(s.dtype) if p.seed is not None else 0
    return (s + noise) / temperature


@options
class Gumbel(ExponentialNormalizer):
    """Weights are a relaxed sample of one key, each drawn with its softmax weight.

    There is noise only where the engine gets a random key (in training); without one this is softmax at
    `temperature`. The log-sum-exp is that of the noisy scores divided by the temperature.

    Attributes:
        temperature: the lower, the nearer a sample is to a single key.
    """

    card: ClassVar[Card] = Card(
        source="Jang, Gu & Poole 2017, arXiv 1611.01144; Maddison et al. 2017, 1611.00712",
        equation="w_j = softmax_j((s_j + g_j) / t), g_j = -log(-log u_j), u_j uniform in (0, 1)",
        pair_flops="30",
    )
    map_kind: ClassVar[MapKind] = "distribution"
    random: ClassVar[bool] = True
    temperature: Annotated[float, Gt(0)] = 1.0

    def transform_capped_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        return perturbed(p, s, i, j, self.temperature)
