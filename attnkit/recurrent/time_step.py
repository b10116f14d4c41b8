"""How fast a head forgets, and how long a step in time is, as state-space models start them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SHORTEST, LONGEST = 1e-3, 1e-1


def log_steps(key: jax.Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Logarithms of time steps, uniform between those of 0.001 and 0.1.

    Source: Gu & Dao 2023 (Mamba), arXiv 2312.00752, section 3.6.
    """
    return jax.random.uniform(key, shape, minval=jnp.log(SHORTEST), maxval=jnp.log(LONGEST))


def step_bias(key: jax.Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Numbers whose softplus is such a time step."""
    step = jnp.exp(log_steps(key, shape))
    return step + jnp.log(-jnp.expm1(-step))


def log_speeds(key: jax.Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Logarithms of speeds of forgetting, uniform between 1 and 16 per unit of time."""
    return jnp.log(jax.random.uniform(key, shape, minval=1.0, maxval=16.0))
