"""Sizes of a call of attention, by which a form says whether it can do it."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from attnkit.forms.shards import Shards
from attnkit.variant import HeadShape


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of one call.

    Attributes:
        queries: number of queries, of one device if several share the sequence.
        keys: number of keys, likewise.
        offset: position of the first query.
        block: queries and keys of a block, if asked for.
        shape: heads and widths, if known.
        shards: the devices that share the sequence, if several do.
        dtype: type of queries, keys and values.
        hindrance: why kernels cannot run where the call is; `None` if they can.
    """

    queries: int
    keys: int
    offset: int = 0
    block: tuple[int, int] | None = None
    shape: HeadShape | None = None
    shards: Shards | None = None
    dtype: Any = jnp.float32
    hindrance: str | None = None
