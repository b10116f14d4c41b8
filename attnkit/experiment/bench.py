"""Time, floating-point operations and memory of variants over the length, beside softmax attention."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.experiment.bench_cases import Case, Output, Setting, cases, causal, plain, variant_of
from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.scored.contract import Scored
from attnkit.scored.preset.attention import Attention

PLAIN = "jax.nn"
SOFTMAX = "attention"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of one computation at one length.

    Attributes:
        name: the variant; `jax.nn` is plain attention by `jax.nn.dot_product_attention`.
        form: which computation.
        length: number of queries and of keys.
        milliseconds: median time of one call.
        least: the least time.
        gigaflops: floating-point operations in units of 10^9, as XLA counts them (`cost_analysis`); of a form
            with a loop those of one block, chunk or token times their number. `None` where that is not known.
        mebibytes: temporary memory that XLA allocates (`memory_analysis`).
    """

    name: str
    form: str
    length: int
    milliseconds: float
    least: float
    gigaflops: float | None
    mebibytes: float


def bench(
    variants: Mapping[str, Any], lengths: Sequence[int], setting: Setting, tell: Callable[[str], None]
) -> list[Cost]:
    """The costs of every variant at every length, in all its forms, taking turns.

    Beside them is `jax.nn.dot_product_attention`, causal if all variants are, and softmax attention by
    blocks if not all variants are scored attention themselves.

    Raises:
        ConfigError: for what has no heads of attention, or needs run-time data.
    """
    every = {name: variant_of(name, thing) for name, thing in variants.items()}
    is_causal = all(map(causal, every.values()))
    if not all(isinstance(variant, Scored) for variant in every.values()) and SOFTMAX not in every:
        every[SOFTMAX] = Attention(mask=Causal() if is_causal else Everything()).scored()
    found: list[Cost] = []
    for length in lengths:
        runs: dict[tuple[str, str], tuple[Case, Any]] = {}
        made = {name: list(cases(variant, length, setting)) for name, variant in every.items()}
        made[PLAIN] = [plain(is_causal, length, setting)]
        for name, some in made.items():
            for case in some:
                tell(f"compiling {name}, {case.form}, {length} tokens")
                runs[name, case.form] = case, compiled(case, setting)
        found += timed(runs, length, setting)
    return found


def differentiated(output: Output) -> Callable[..., Any]:
    """The gradient, by everything, of the sum of squares."""
    return jax.grad(lambda arrays: jnp.sum(output(arrays) ** 2))


def compiled(case: Case, setting: Setting) -> Any:
    """The program of a case: its output, or the gradients of the output's squared sum."""
    function = differentiated(case.output) if setting.gradient else case.output
    return jax.jit(function).lower(case.arrays).compile()


def timed(runs: Mapping[tuple[str, str], tuple[Case, Any]], length: int, setting: Setting) -> Iterator[Cost]:
    """Every computation takes its turn in every round; the first round does not count."""
    times: dict[tuple[str, str], list[float]] = {at: [] for at in runs}
    for number in range(setting.rounds + 1):
        for at, (case, program) in runs.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(case.arrays))
            if number:
                times[at].append(1000 * (time.perf_counter() - begun))
    for (name, form), (case, program) in runs.items():
        seen = times[name, form]
        memory = program.memory_analysis().temp_size_in_bytes / 2**20
        flops = operations(case, program, setting)
        yield Cost(name, form, length, statistics.median(seen), min(seen), flops, memory)


def operations(case: Case, program: Any, setting: Setting) -> float | None:
    """Billions of operations: as counted, or those of a part times the number of parts.

    `None` of a gradient with a loop: XLA's count of one part cannot tell what is computed again.
    """
    if case.part is None:
        return counted(program)
    part, number = case.part
    one = None if setting.gradient else counted(compiled(part, setting), whole=False)
    return None if one is None else one * number


def counted(program: Any, whole: bool = True) -> float | None:
    """Billions of operations of a program; `None` of a whole one with loops, which XLA counts once."""
    if whole and "while(" in program.as_text():
        return None
    flops = (program.cost_analysis() or {}).get("flops")
    return None if flops is None else flops / 1e9
