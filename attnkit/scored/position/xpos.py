"""Rotary position embedding that fades with distance."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float, Int

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class Xpos(Position):
    """Rotary embedding whose pair `c` is also multiplied by `z_c^{i - j}`, fast rotations fading fastest.

    `z_c = (2 c / dim + gamma) / (1 + gamma)`, and distances are in units of `length`. Queries shrink and keys
    grow with their position, by at most `(1 + 1 / gamma)^(position / length)`: for the defaults that leaves
    float32 and bfloat16 behind position 36,000 and float16 behind 4,500. The key is then infinite, so the
    result is NaN and not a wrong number.

    Attributes:
        gamma: the larger, the weaker the fading.
        length: distance over which `z_c` applies once; 512 in the authors' code.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Sun et al. 2022 (LeX), arXiv 2212.10554, and the authors' code",
        equation="q_i <- z^{i / length} R_i q_i, k_j <- z^{-j / length} R_j k_j",
        assumes="causal attention; dim is even; positions below 70 * length",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    gamma: Annotated[float, Gt(0)] = 0.4
    length: Annotated[int, Ge(1)] = 512
    base: Annotated[float, Gt(1)] = 10000.0

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self._turned(q, i, 1)

    def key(self, k: Keys, j: Columns) -> Keys:
        return self._turned(k, j, -1)

    def _turned(
        self, x: Float[Array, "tokens dim"], at: Int[Array, "tokens"], sign: int
    ) -> Float[Array, "tokens dim"]:
        """Rows turned by their position and multiplied by `z` to the power of `sign * position / length`."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        pairs = x.shape[1] // 2
        log_z = jnp.log((jnp.arange(pairs) / pairs + self.gamma) / (1 + self.gamma)).astype(wide.dtype)
        growth = jnp.exp(sign * at[:, None] / self.length * log_z)
        turned = rotate(wide, at, frequencies(x.shape[1], self.base)) * jnp.tile(growth, 2)
        return turned.astype(x.dtype)
