"""Running maximum of log weights, which keeps sums of exponentials in range."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

NEVER = -jnp.inf


def running_maximum(
    level: Float[Array, "tokens"],
    log_decay: Float[Array, "tokens"],
    before: Float[Array, ""],
    reset: Bool[Array, "tokens"],
    empty: float,
) -> tuple[Float[Array, "tokens"], Float[Array, "tokens"], Float[Array, ""]]:
    """`m_t = max(m_{t-1} + log_decay_t, level_t)`, `m_{t-1}`, and the last `m`.

    Args:
        level: logarithm of the weight of each token.
        log_decay: decay of earlier weights by each token.
        before: `m` before the first token.
        reset: tokens before which `m` is reset to `empty`.
        empty: `m` where there is no token.
    """

    def then(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] + b[0], jnp.maximum(a[1] + b[0], b[1])

    decayed, top = jax.lax.associative_scan(then, (jnp.where(reset, NEVER, log_decay), level))
    top = jnp.maximum(before + decayed, top)
    line = jnp.concatenate([before[None], top])
    return top, jnp.where(reset, empty, line[:-1]), line[-1]
