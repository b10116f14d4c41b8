"""FNet: a Fourier transform in place of attention."""

import math
from typing import ClassVar

import jax.numpy as jnp

from attnkit.approximate.contract import Approximate, Count, Keys, Outputs, Params, Queries, Rows, Values
from attnkit.option_class import options
from attnkit.variant import Card


@options
class Fnet(Approximate):
    """The real part of the Fourier transform of the tokens, along the sequence and across their vectors.

    Nothing is learned and there are no heads. Padding does not exist for it: a sequence is transformed at its
    own length, by a matrix, where the length is only known at run time. There is no causal form.

    Attributes:
        orthonormal: whether the result is divided by `sqrt(T model_dim)`, so that it is as large as the
            tokens; the paper does not.
    """

    card: ClassVar[Card] = Card(
        source="Lee-Thorp et al. 2021 (FNet), arXiv 2105.03824",
        equation="y = Re(F_seq(F_hidden(x)))",
        sequence_flops="2 * length * length * model_dim",
        assumes="the paper transforms the padding too",
    )
    projections: ClassVar[tuple[str, ...]] = ()
    mapless: ClassVar[str] = "it mixes the numbers within a token too"
    orthonormal: bool = False

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        across = jnp.fft.fft(v, axis=1)
        if isinstance(length, int):
            y = jnp.fft.fft(across, axis=0).real
        else:
            # The product is reduced before it is turned into an angle, which would lose digits otherwise.
            turn = (i[:, None] * i) % jnp.maximum(length, 1)
            angle = 2 * math.pi / jnp.maximum(length, 1) * turn.astype(v.dtype)
            y = jnp.cos(angle) @ across.real + jnp.sin(angle) @ across.imag
        return y * (jnp.maximum(length, 1) * v.shape[1]) ** -0.5 if self.orthonormal else y
