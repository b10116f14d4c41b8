"""Equal footing: one option of every cell solved for, so that all have as much of something."""

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from attnkit.errors import ConfigError
from attnkit.experiment import config, footprint
from attnkit.experiment.config import Config, Setting
from attnkit.experiment.diagnostics import InvalidConfig
from attnkit.experiment.session import loaded_data, sizes_of
from attnkit.experiment.sweep_cell import Cell
from attnkit.experiment.sweep_table import Equal
from attnkit.experiment.toml import Key
from attnkit.tasks.contract import Dataset

WIDEST = 1 << 16


def equalized(cells: Sequence[Cell], equal: Equal) -> list[Cell]:
    """The cells with the option `equal.by` such that each has what the first cell of its task has.

    The nearest possible value is taken; what a cell then has is in its result.

    Raises:
        ConfigError: if a cell lacks the option, or has no such size.
    """
    load = functools.cache(lambda task: loaded_data(first[task].config))
    first: dict[str, Cell] = {}
    targets: dict[str, int] = {}
    solved: dict[str, int] = {}
    found = []
    for cell in cells:
        task = json.dumps(cell.config.table()["task"], sort_keys=True)
        first.setdefault(task, cell)
        dataset = load(task)
        if task not in targets:
            targets[task] = measured(cell.config, dataset, equal)
        without_seed = cell.config.table()
        without_seed["training"] = without_seed["optimizer"] = without_seed["about"] = None
        alike = json.dumps(without_seed, sort_keys=True)
        if alike not in solved:
            solved[alike] = solve(cell, dataset, equal, targets[task])
        found.append(dataclasses.replace(cell, config=changed(cell.config, equal, solved[alike])))
    return found


def solve(cell: Cell, dataset: Dataset, equal: Equal, target: int) -> int:
    """The value of the option with which a cell has nearest to `target`; the size grows with the option."""
    grain = grain_of(cell.config, equal)

    @functools.cache
    def size(count: int) -> int:
        try:
            smaller = changed(cell.config, equal, count * grain)
        except InvalidConfig:
            # Some parts have a least width, or need an even one.
            return 0
        return measured(smaller, dataset, equal)

    high = 1
    while size(high) < target:
        high *= 2
        if high * grain > WIDEST:
            raise ConfigError(
                f"{cell.config.file}: sweep.equal: {equal.by} up to {WIDEST} gives {cell.title} no {target} "
                f"{equal.what}; take another option with by"
            )
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < target else (low, middle)
    best = min((n for n in (low, high) if n), key=lambda n: abs(size(n) - target))
    return best * grain


def grain_of(loaded: Config, equal: Equal) -> int:
    """Divisor of the option: a multiple of the heads beside it, and of what the file says or twice them."""
    here: Any = loaded.table()
    for step in config.key_of(equal.by)[:-1]:
        here = here[step]
    heads = int(here.get("heads", 1))
    # Rotary encodings turn pairs of numbers.
    return math.lcm(heads, equal.multiple_of or 2 * heads)


def changed(loaded: Config, equal: Equal, value: int) -> Config:
    """A config with another value of the option."""
    key: Key = config.key_of(equal.by)
    here: Any = loaded.table()
    for step in key:
        known = step in here if isinstance(here, dict) else isinstance(step, int) and step < len(here)
        if not known:
            raise ConfigError(f"{loaded.file}: sweep.equal: {equal.by}: the config has no such option")
        here = here[step]
    data = copy.deepcopy(loaded.table())
    return config.resolve(loaded.file, data, {}, [Setting(key, value, f"{loaded.file}: sweep.equal")])


def measured(loaded: Config, dataset: Dataset, equal: Equal) -> int:
    """How much a config's network has of what is to be equal. Nothing is computed."""
    model = loaded.experiment.model.made
    try:
        network = nnx.eval_shape(lambda: model.build(sizes_of(dataset), nnx.Rngs(0)))
        if equal.what == "parameters":
            return footprint.parameters(network)
        return state_of(network, footprint.shapes(dataset))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{loaded.file}: sweep.equal: {' '.join(str(error).split())}") from error


def state_of(network: Any, batch: Any) -> int:
    """Bytes of the decoding state of a network whose parameters are shapes."""
    graph, variables = nnx.split(network)
    build: Callable[..., int | None] = footprint.state_bytes
    found: list[int | None] = []
    jax.eval_shape(lambda v: found.append(build(nnx.merge(graph, v), batch)), variables)
    if found[0] is None:
        raise ValueError('a network has no decoding state; set equal = "parameters"')
    return found[0]
