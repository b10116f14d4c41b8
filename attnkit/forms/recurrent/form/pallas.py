"""Recurrent attention chunk by chunk, with the passing of the state and all that is read as one kernel.

What belongs to a chunk alone is computed by XLA, for all chunks at once. The kernel has a program for each
head and each part of the columns of the state, which stays in the program from the first chunk to the last:
no states are written to memory. It computes the forward pass; derivatives are those of the chunked form,
which XLA computes. Nothing here was measured on a device, so `auto` does not take it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.recurrent.contract import Matrix, Sizes
from attnkit.forms.recurrent.form.chunked import Chunk, Chunked, read_all
from attnkit.jax_api import pallas, struct_like
from attnkit.recurrence.contract import LinearRecurrent, Recurrent
from attnkit.recurrence.two_pass import TwoPassRecurrent

#: columns of the state that a program has, at most
COLUMNS = {"cpu": 4, "gpu": 32, "tpu": 128}
#: of products: a GPU's of float32 are three of TF32, as those of all digits do not fit its registers
PRECISIONS = {"gpu": jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3}


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
        o, last = read_fused(jax.default_backend(), chunk, state)
        return o, last


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def read_fused(platform: str, chunk: Chunk, state: Matrix) -> Any:
    """`read_all` as one kernel."""
    from attnkit.forms.pallas.targets import TARGETS

    chunks, tokens, dim = chunk.read.shape
    width, most = state.shape[1], COLUMNS[platform]
    part = most if width % most == 0 else width
    given = {name: a for name, a in chunk._asdict().items() if a is not None}
    given["write_keys"] = jnp.swapaxes(chunk.write_keys, -1, -2)
    given["kept"] = chunk.kept[..., None]
    arrays = [*given.values(), state]
    spec = functools.partial(Window, part)
    inputs = [spec(a.shape, name == "written").block() for name, a in given.items()]
    shapes = [(chunks, tokens, width), (dim, width)]
    structs = [struct_like(shape, state.dtype, state) for shape in shapes]
    outputs = [spec(shape, True).block() for shape in shapes]
    precision = PRECISIONS.get(platform, jax.lax.Precision.HIGHEST)
    body = functools.partial(run_program, tuple(given), chunks, functools.partial(times, precision))
    windows = [*inputs, spec(state.shape, True).block()]
    o, last = TARGETS[platform].call(
        "read_chunks", body, (width // part,), (), windows, outputs, structs, arrays
    )
    return o, last


@read_fused.defjvp
def _read_fused_jvp(platform: str, primals: Any, tangents: Any) -> Any:
    """That of the chunked form."""
    return jax.jvp(read_all, primals, tangents)


@dataclasses.dataclass(frozen=True)
class Window:
    """Part of an array that a program sees.

    Attributes:
        part: columns of the state that a program has.
        shape: of the array.
        cut: whether its last axis is that of the state's columns.
    """

    part: int
    shape: tuple[int, ...]
    cut: bool

    def block(self) -> Any:
        """As Pallas wants it."""
        before = (0,) * (len(self.shape) - 1)
        seen = (*self.shape[:-1], self.part if self.cut else self.shape[-1])
        return pallas().BlockSpec(seen, self.index(before))

    def index(self, before: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
        """Which block program `n` sees."""
        return (lambda n: (*before, n)) if self.cut else (lambda n: (*before, 0))


def run_program(names: tuple[str, ...], chunks: int, times: Callable[[Any, Any], Any], *refs: Any) -> None:
    """One program: the columns of its part, from the first chunk to the last."""
    *given, state, o, last = refs
    at = dict(zip(names, given, strict=True))

    def step(n: Any, s: Any) -> Any:
        x = at["written"][n]
        if "correction" in at:
            x = x + times(at["correction"][n], s)
        o[n] = times(at["read"][n], s) + times(at["weights"][n], x)
        return at["kept"][n] * s + times(at["write_keys"][n], x)

    last[...] = jax.lax.fori_loop(0, chunks, step, state[...])


def times(precision: Any, a: Any, b: Any) -> Any:
    """The product of two matrices."""
    sides = (((1,), (0,)), ((), ()))
    return jax.lax.dot_general(a, b, sides, precision=precision, preferred_element_type=a.dtype)


FORM = Fused()
