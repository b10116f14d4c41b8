"""Sums over the past in chunks: sum_{j <= i} (f_i . h_j) exp(level_j + fade_{j+1..i}) v_j."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

CHUNK = 64


class Past(NamedTuple):
    """All keys so far: `exp(top) sums` is the sum of `exp(level) h v^T`, faded.

    Attributes:
        sums: scaled so that no number in it is large.
        top: logarithm of the scale; minus infinity for no keys.
    """

    sums: Float[Array, "features width"]
    top: Float[Array, ""]


def no_past(features: int, width: int, dtype: jnp.dtype) -> Past:
    """Of no keys."""
    return Past(jnp.zeros((features, width), dtype), jnp.array(-jnp.inf, dtype))


def prefix(
    f: Float[Array, "tokens features"],
    h: Float[Array, "tokens features"],
    v: Float[Array, "tokens width"],
    level: Float[Array, "tokens"],
    fade: Float[Array, "tokens"] | None = None,
    past: Past | None = None,
    chunk: int = CHUNK,
) -> tuple[Float[Array, "tokens width"], Float[Array, "tokens"], Past]:
    """The sums for every position, the past included.

    Args:
        f: features of queries.
        h: features of keys, of moderate size.
        v: what is summed.
        level: logarithm of the factor of each key; minus infinity for keys that do not exist.
        fade: logarithm, at most 0, of the factor by which a token shrinks all that came before it.
        past: keys before the first.
        chunk: tokens that are treated as a matrix; the result does not depend on it but for rounding.

    Returns:
        `sums`, `top` and the new past: the true sum is `exp(top) sums`. `top` of a position depends on
        nothing after it, so that no bit of the sums does. Gradients take `top` for a constant.
    """
    tokens = f.shape[0]
    begin = no_past(f.shape[1], v.shape[1], v.dtype) if past is None else past
    fade = jnp.zeros_like(level) if fade is None else fade
    # Zeros that differ between devices as the tokens do, as what a scan carries must.
    nothing = jnp.where(f[0, 0] + h[0, 0] + v[0, 0] + level[0] + fade[0] == 0, 0.0, 0.0).astype(v.dtype)
    begin = Past(*(a + nothing for a in begin))
    size = min(chunk, tokens)
    spare = -tokens % size

    def cut(a: Array, fill: float = 0.0) -> Array:
        padded = jnp.pad(a, [(0, spare)] + [(0, 0)] * (a.ndim - 1), constant_values=fill)
        return padded.reshape(-1, size, *a.shape[1:])

    pieces = (cut(f), cut(h), cut(v), cut(level, -jnp.inf), cut(fade))
    end, (sums, top) = jax.lax.scan(absorb, begin, pieces)
    return sums.reshape(-1, v.shape[1])[:tokens], top.reshape(-1)[:tokens], end


def absorb(past: Past, piece: tuple[Array, Array, Array, Array, Array]) -> tuple[Past, tuple[Array, Array]]:
    """One chunk: its sums, and the past after it."""
    f, h, v, level, fade = piece
    faded = jnp.cumsum(fade)
    seen = jnp.tril(jnp.ones((len(f), len(f)), bool)) & (level > -jnp.inf)
    pair = jnp.where(seen, level + faded[:, None] - faded, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.maximum(past.top + faded, jnp.max(pair, axis=1)))
    base = jnp.where(top > -jnp.inf, top, 0)
    factor, carried = jnp.exp(pair - base[:, None]), jnp.exp(past.top + faded - base)
    sums = (f @ h.T * factor) @ v + carried[:, None] * (f @ past.sums)
    kept = (h * factor[-1][:, None]).T @ v + carried[-1] * past.sums
    return Past(kept, top[-1]), (sums, top)
