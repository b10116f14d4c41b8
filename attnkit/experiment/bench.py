"""Time, floating-point operations and memory of variants over the length, beside two dense computations."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.errors import ConfigError
from attnkit.forms import attend, explain
from attnkit.forms.attend import Form
from attnkit.masks.causal import Causal
from attnkit.scored.contract import HeadShape, Preset, Scored
from attnkit.scored.preset.attention import Attention

PLAIN = "jax.nn"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        heads: number of heads.
        dim: width of a query, key or value.
        gradient: whether to measure forward and backward together.
        rounds: how often each computation takes its turn.
    """

    heads: int = 8
    dim: int = 64
    gradient: bool = False
    rounds: int = 5


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one computation costs at one length.

    Attributes:
        name: the variant; `jax.nn` is plain attention by `jax.nn.dot_product_attention`.
        form: which computation.
        length: number of queries and of keys.
        milliseconds: median time of one call.
        least: the least time.
        gigaflops: floating-point operations in units of 10^9, as XLA counts them (`cost_analysis`); of a form
            by blocks those of one block times the number of blocks. `None` where that is not known.
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
    """The costs of every variant at every length, in its form by blocks and dense, taking turns.

    Raises `ConfigError` for what is not scored attention, or needs run-time data.
    """
    found: list[Cost] = []
    every = {name: scored_of(name, thing) for name, thing in variants.items()}
    for length in lengths:
        runs: dict[tuple[str, str], tuple[Any, Any]] = {}
        for name, scored in every.items():
            for form in ("auto", "reference"):
                tell(f"compiling {name}, {form}, {length} tokens")
                arrays = draw(scored, length, setting)
                runs[name, form] = compiled(function_of(scored, form, setting), arrays), arrays
        causal = all(isinstance(scored.mask, Causal) for scored in every.values())
        runs[PLAIN, "causal" if causal else "full"] = plain(causal, length, setting)
        found += timed(runs, every, length, setting)
    return found


def scored_of(name: str, thing: Any) -> Scored:
    """The scored attention that a preset stands for, or plain attention with one part exchanged."""
    from attnkit.conformance.subject import as_scored

    try:
        scored = thing.scored() if isinstance(thing, Preset) else as_scored(thing)
    except TypeError as error:
        raise ConfigError(f"{name}: bench measures scored attention and its parts") from error
    if scored.needs():
        needs = ", ".join(sorted(scored.needs()))
        raise ConfigError(f"{name}: reads run-time data ({needs}); bench has none")
    return scored


def draw(scored: Scored, length: int, setting: Setting) -> dict[str, Any]:
    """Random arrays of a problem."""
    shape = HeadShape(setting.heads, setting.heads, setting.dim, setting.dim)
    keys = iter(jax.random.split(jax.random.key(0), 64))

    def normal(width: int) -> jax.Array:
        return jax.random.normal(next(keys), (setting.heads, length, width))

    inputs = {name: normal(need.width) for name, need in scored.inputs(shape).items()}
    given = {name: normal(setting.dim) for name in ("q", "k", "v")}
    return {**given, "params": scored.init(next(keys), shape), "inputs": inputs}


def function_of(scored: Scored, form: Form, setting: Setting) -> Callable[..., Any]:
    """The output of attention, or the gradients of its squared sum."""

    def output(arrays: dict[str, Any]) -> jax.Array:
        q, k, v = arrays["q"], arrays["k"], arrays["v"]
        return attend(scored, arrays["params"], q, k, v, inputs=arrays["inputs"], form=form).output

    return differentiated(output) if setting.gradient else output


def differentiated(output: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The gradient, by everything, of the sum of squares."""
    return jax.grad(lambda arrays: jnp.sum(output(arrays) ** 2))


def plain(causal: bool, length: int, setting: Setting) -> tuple[Any, Any]:
    """`jax.nn.dot_product_attention` and its arrays."""

    def output(arrays: dict[str, Any]) -> jax.Array:
        q, k, v = (jnp.moveaxis(arrays[name], 0, 1)[None] for name in ("q", "k", "v"))
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal)

    arrays = draw(Attention().scored(), length, setting)
    return compiled(differentiated(output) if setting.gradient else output, arrays), arrays


def compiled(function: Callable[..., Any], arrays: Any) -> Any:
    """The program for these arrays."""
    return jax.jit(function).lower(arrays).compile()


def timed(
    runs: Mapping[tuple[str, str], tuple[Any, Any]],
    every: Mapping[str, Scored],
    length: int,
    setting: Setting,
) -> Iterable[Cost]:
    """Every computation takes its turn in every round; the first round does not count."""
    times: dict[tuple[str, str], list[float]] = {at: [] for at in runs}
    for number in range(setting.rounds + 1):
        for at, (program, arrays) in runs.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(arrays))
            if number:
                times[at].append(1000 * (time.perf_counter() - begun))
    for (name, form), (program, _) in runs.items():
        seen = times[name, form]
        shown = explain(every[name], length, length).form if form == "auto" else form
        flops = operations(every[name], length, setting) if shown == "blockwise" else counted(program)
        memory = program.memory_analysis().temp_size_in_bytes / 2**20
        yield Cost(name, shown, length, statistics.median(seen), min(seen), flops, memory)


def operations(scored: Scored, length: int, setting: Setting) -> float | None:
    """Billions of operations of the form by blocks: those of a block as XLA counts them, times the blocks.

    `None` of a gradient: XLA's count of one block cannot tell what is computed again.
    """
    if setting.gradient:
        return None
    plan = explain(scored, length, length)
    size = max(plan.block)
    arrays = draw(scored, size, setting)
    whole = Attention(score=scored.score, position=scored.position, normalizer=scored.normalizer).scored()
    one = counted(compiled(function_of(whole, "reference", setting), arrays))
    return None if one is None else one * plan.computed * plan.block[0] * plan.block[1] / size**2


def counted(program: Any) -> float | None:
    """Billions of operations of a program without loops."""
    analysis = program.cost_analysis() or {}
    flops = analysis.get("flops")
    return None if flops is None else flops / 1e9
