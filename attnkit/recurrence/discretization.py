"""Time steps and decay rates of state-space models: initial values, and the log decay they give."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.recurrence.contract import Params
from attnkit.variant import Kinds

MIN_DT, MAX_DT = 1e-3, 1e-1


def init_log_dt(key: jax.Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Logarithms of time steps, uniform between those of 0.001 and 0.1.

    Source: Gu & Dao 2023 (Mamba), arXiv 2312.00752, section 3.6.
    """
    return jax.random.uniform(key, shape, minval=jnp.log(MIN_DT), maxval=jnp.log(MAX_DT))


#: kinds of the parameters of `init_decay`
DECAY_KINDS: Kinds = {"dt_bias": "rate", "A_log": "rate"}


def init_decay(key: jax.Array, heads: int, *width: int) -> dict[str, Any]:
    """Fresh `dt_bias [heads, *width]` and `A_log [heads]`.

    The softplus of `dt_bias` is a time step as of `init_log_dt`; `A = exp(A_log)` is uniform in 1 to 16.
    """
    one, two = jax.random.split(key)
    dt = jnp.exp(init_log_dt(one, (heads, *width)))
    return {
        "dt_bias": dt + jnp.log(-jnp.expm1(-dt)),
        "A_log": jnp.log(jax.random.uniform(two, (heads,), minval=1.0, maxval=16.0)),
    }


def time_step(p: Params, raw: Float[Array, "*tokens"]) -> Float[Array, "*tokens"]:
    """`dt = softplus(raw + dt_bias)`."""
    return jax.nn.softplus(raw + p["dt_bias"])


def log_decay(p: Params, dt: Float[Array, "*tokens"]) -> Float[Array, "*tokens"]:
    """`-A dt`, the log decay over a time step."""
    return -jnp.exp(p["A_log"]) * dt
