"""Recurrent attention chunk by chunk, with the passing of the state and all that is read as one kernel.

What belongs to a chunk alone is computed by XLA, for all chunks at once. The kernel has a program for each
head and each part of the columns of the state, which stays in the program from the first chunk to the last:
no states are written to memory. Its derivatives of every order are kernels too, made of the same step
(`chunk_pass.py`); they read the states before each chunk, which the forward pass then writes. Nothing here
was measured on a device, so `auto` does not take it.
"""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.recurrent.chunk_pass import ChunkPass
from attnkit.forms.recurrent.contract import Matrix, Sizes
from attnkit.forms.recurrent.form.chunked import Chunk, Chunked
from attnkit.recurrence.contract import LinearRecurrent, Recurrent
from attnkit.recurrence.two_pass import TwoPassRecurrent


class Fused(Chunked):
    """The chunked form, whose chunks one kernel reads."""

    name: ClassVar[str] = "pallas"
    rank: ClassVar[int] = 9
    compiled_on: ClassVar[tuple[str, ...]] = ("gpu", "tpu")

    def supports(self, variant: Recurrent, sizes: Sizes, platform: str) -> str | None:
        if platform not in self.compiled_on:
            known = " or ".join(self.compiled_on)
            return f"platform {platform}: there is no compiler of kernels; expected {known}"
        if not isinstance(variant, LinearRecurrent):
            return f"{type(variant).__name__} has an update of its own"
        if isinstance(variant, TwoPassRecurrent):
            return f"{type(variant).__name__} makes two passes, and the second has a decay for each column"
        return None

    def declines(self, sizes: Sizes) -> str | None:
        return "not measured on a device"

    def read_chunks(
        self, chunk: Chunk, state: Matrix
    ) -> tuple[Float[Array, "chunks tokens value_dim"], Matrix]:
        return read_fused(chunk, state, jnp.dtype(self.dtype).itemsize == 2)


def read_fused(
    chunk: Chunk, state: Matrix, narrow: bool = False
) -> tuple[Float[Array, "chunks tokens value_dim"], Matrix]:
    """`read_all` as one kernel, and so its derivatives. `narrow` inputs had 16 bits."""
    given = {name: a for name, a in chunk._asdict().items() if a is not None}
    given["write_keys"] = jnp.swapaxes(chunk.write_keys, -1, -2)
    given["kept"] = chunk.kept[..., None]
    step = functools.partial(read_chunk, tuple(given))
    cuts = tuple(name == "written" for name in given)
    (o,), (last,) = ChunkPass(step, cuts, (True,), narrow).run(list(given.values()), [state])
    return o, last


def read_chunk(names: tuple[str, ...], precision: Any, states: Any, chunk: Any) -> Any:
    """The state after a chunk, and what its tokens read."""
    (s,), at = states, dict(zip(names, chunk, strict=True))
    x = at["written"]
    if "correction" in at:
        x = x + times(precision, at["correction"], s)
    o = times(precision, at["read"], s) + times(precision, at["weights"], x)
    return [at["kept"] * s + times(precision, at["write_keys"], x)], [o]


def times(precision: Any, a: Any, b: Any) -> Any:
    """The product of two matrices."""
    sides = (((1,), (0,)), ((), ()))
    return jax.lax.dot_general(a, b, sides, precision=precision, preferred_element_type=a.dtype)


FORM = Fused()
