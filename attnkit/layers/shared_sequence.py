"""Tokens of a sequence that the devices along a mesh axis share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.shards import Shards


def behind_others(
    shards: Shards,
    x: Float[Array, "batch tokens dim"],
    segments: Int[Array, "batch tokens"] | None,
    count: int,
) -> tuple[Float[Array, "batch more dim"], Int[Array, "batch more"]]:
    """Tokens behind the last `count` of the device before, and the documents of all of these.

    The first device has zeros there, of a document of their own.

    Raises:
        ValueError: if a device has fewer tokens than that.
    """
    if x.shape[1] < count:
        raise ValueError(
            f"{x.shape[1]} tokens on each of {shards.count} devices: the layer reads {count} tokens before "
            "each, and asks one device for them; use fewer devices"
        )
    own = (x, jnp.zeros(x.shape[:2], jnp.int32) if segments is None else segments)
    last = jax.tree.map(lambda a: a[:, -count:], own)
    none = (jnp.zeros_like(last[0]), jnp.broadcast_to(jnp.min(own[1], 1, keepdims=True) - 1, last[1].shape))
    return jax.tree.map(
        lambda *parts: jnp.concatenate(parts, axis=1), shards.before(last, none), shards.varying(own)
    )
