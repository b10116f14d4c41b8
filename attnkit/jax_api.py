"""Names of JAX that are private or that move between versions: imported here and nowhere else."""

import jax
from jax.extend.core import get_opaque_trace_state

__all__ = ["current_trace", "make_user_context"]

#: A value that code consults while it is traced, and that is part of the key of every cache of JAX.
make_user_context = jax.make_user_context


def current_trace() -> object:
    """The trace that is being written, comparable with `==`; that of no transformation if there is none."""
    return get_opaque_trace_state(convention="attnkit")
