"""Cost of the training steps of a config."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.experiment.config import Config
from attnkit.experiment.session import start
from attnkit.training.batches import Batches
from attnkit.training.devices import make_mesh, place_batches
from attnkit.training.optimizer import hyperparameters
from attnkit.training.step import begin, make_dispatch, make_step, split, steps_per_dispatch


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """Cost of training a config on this machine.

    Attributes:
        name: the config.
        devices: what it runs on.
        parameters: numbers that are learned.
        steps: steps of one dispatch, the time of which is divided by them.
        compile_seconds: time until the program of a dispatch is compiled.
        milliseconds: median time of a step; data is made beforehand.
        least: the least time.
        steps_per_second: of the median.
        tokens_per_second: labels that count, of the median.
        mebibytes: memory that the compiled program allocates beyond its arguments (`memory_analysis`).
        state_mebibytes: parameters and the optimizer's state that a device keeps.
    """

    name: str
    devices: str
    parameters: int
    steps: int
    compile_seconds: float
    milliseconds: float
    least: float
    steps_per_second: float
    tokens_per_second: float
    mebibytes: float
    state_mebibytes: float


def bench_training(loaded: Config, rounds: int, tell: Callable[[str], None]) -> TrainingCost:
    """The cost of `rounds` dispatches of training steps from fresh parameters, after one that does not count.

    Raises:
        ConfigError: as `start`.
        DataError: as `start`.
    """
    session = start(loaded)
    plan, data = session.training, session.data
    graph, params, constants = split(session.network)
    count = steps_per_dispatch(plan, params, plan.batch_size * (data.length + data.source_length))
    mesh = make_mesh(plan)
    dispatch: Any = make_dispatch(make_step(graph, plan, session.optimizer, mesh), mesh)
    state = begin(graph, params, constants, plan, session.optimizer, mesh)
    hyper = hyperparameters(session.optimizer, session.training.label_smoothing)
    held = sum(a.addressable_data(0).nbytes for a in jax.tree.leaves((state.params, state.optimizer)))
    times, tokens = [], 0.0
    with Batches(data, plan.seed, plan.batch_size, count) as batches:
        tell(f"compiling {count} steps")
        begun = time.perf_counter()
        program = dispatch.lower(
            state, place_batches(batches.take(0, count), mesh), jnp.int32(count), hyper
        ).compile()
        compiling = time.perf_counter() - begun
        for number in range(rounds + 1):
            ready = place_batches(batches.take(number * count, count), mesh)
            begun = time.perf_counter()
            state, metrics, _ = jax.block_until_ready(program(state, ready, jnp.int32(count), hyper))
            if number:
                times.append((time.perf_counter() - begun) / count)
                tokens += float(metrics.tokens.sum()) / count / rounds
    middle = statistics.median(times)
    return TrainingCost(
        name=loaded.name,
        devices=f"{mesh.size} x {jax.devices()[0].device_kind}",
        parameters=sum(a.size for a in jax.tree.leaves(params)),
        steps=count,
        compile_seconds=compiling,
        milliseconds=1000 * middle,
        least=1000 * min(times),
        steps_per_second=1 / middle,
        tokens_per_second=tokens / middle,
        mebibytes=program.memory_analysis().temp_size_in_bytes / 2**20,
        state_mebibytes=held / 2**20,
    )
