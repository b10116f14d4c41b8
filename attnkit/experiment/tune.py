"""Block sizes measured on this device: how long a pair of a query and a key takes in blocks of each size."""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.attend import heads_of
from attnkit.forms.block_loops import LOOPS
from attnkit.forms.block_mask import BlockMask, choose_block_mask
from attnkit.forms.block_op import Lowering
from attnkit.forms.passes import Passes
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.forms.scored.pallas import COMPILED_ON
from attnkit.forms.tiling import SIDES, STEPS, Step, TargetName, Tiling
from attnkit.masks.everything import Everything
from attnkit.masks.window import Window
from attnkit.scored.preset.attention import Attention

HEADS, DIM = 4, 64


def tune(length: int, rounds: int, tell: Callable[[str], None]) -> dict[TargetName, tuple[Step, ...]]:
    """The steps of a tiling as measured, by target: with the time of a pair relative to the fastest.

    Args:
        length: queries and keys, at least `shortest()`.
        rounds: calls of each, after one that does not count; the least time is taken.
        tell: progress, one line each.
    """
    found: dict[TargetName, tuple[Step, ...]] = {}
    for target, steps in targets().items():
        times: dict[tuple[int, int], float] = {}
        for side, width in steps:
            try:
                times[side, width] = seconds(target, side, width, length, rounds)
            except Exception as error:  # compilers raise errors of any type
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                tell(f"{target}: {side} x {width} left out: {reason}")
                continue
            tell(f"{target}: {side} x {width}: {1e9 * times[side, width]:.3f} ns for a pair")
        if times:
            least = min(times.values())
            found[target] = tuple((*at, round(spent / least, 3)) for at, spent in times.items())
    return found


def shortest() -> int:
    """The length that has two blocks of every size, or all that are computed at once."""
    return max(side * max(width, 2) for steps in targets().values() for side, width in steps)


def targets() -> dict[TargetName, list[tuple[int, int]]]:
    """The steps that this platform may take, by target: sides, and how many blocks at once."""
    platform = jax.default_backend()
    found: dict[TargetName, list[tuple[int, int]]] = {"loops": [(side, width) for side, width, _ in STEPS]}
    if platform in COMPILED_ON:
        found["kernels"] = [(side, 1) for side in SIDES[platform]]
    return found


def seconds(target: TargetName, side: int, width: int, length: int, rounds: int) -> float:
    """The least time of a computed pair, forward and backward, of all heads; of kernels in bfloat16."""
    block_mask = blocks(side, width, length, target == "kernels")
    program = jax.jit(jax.grad(functools.partial(total, block_mask, lowering_of(target)), (0, 1, 2)))
    keys = jax.random.split(jax.random.key(0), 3)
    dtype = jnp.bfloat16 if target == "kernels" else jnp.float32
    given = [jax.random.normal(key, (HEADS, length, DIM), dtype) for key in keys]
    pairs = block_mask.computed * block_mask.block[0] * block_mask.block[1]
    return min(timed(program, given, rounds)) / pairs


def blocks(side: int, width: int, length: int, exact: bool) -> BlockMask:
    """Blocks of one size: of all pairs, or of a band if neighbors are computed at once."""
    mask = Everything() if width == 1 else Window(back=side * (width - 1))
    return choose_block_mask(mask, length, length, 0, 0, Tiling(0, ((side, width, 1.0),), exact))


def lowering_of(target: TargetName) -> Lowering:
    """How a target computes blocks."""
    if target == "loops":
        return LOOPS
    from attnkit.forms.pallas.lowering import KERNELS

    return KERNELS


def total(block_mask: BlockMask, lowering: Lowering, q: Any, k: Any, v: Any) -> Any:
    """The sum of the squares of the output of plain attention."""
    variant = Attention().scored()
    heads = heads_of(variant, None, q, k, v, None, None, 0, None)
    output, _ = heads.run(functools.partial(attend_blocks, Passes.of(variant, block_mask, lowering)))
    return jnp.sum(output**2)


def timed(program: Any, given: Any, rounds: int) -> Iterator[float]:
    """Seconds of each call after the first."""
    for number in range(rounds + 1):
        begun = time.perf_counter()
        jax.block_until_ready(program(*given))
        if number:
            yield time.perf_counter() - begun
