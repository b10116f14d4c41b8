"""Run folders and sweeps as the runs that studies compare."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment import folder, sweep
from attnkit.experiment.summary import flat
from attnkit.studies.comparison import Criteria, Run


@dataclasses.dataclass(frozen=True)
class Found:
    """The runs of some folders.

    Attributes:
        name: what they are called together.
        about: their purpose.
        runs: the finished ones.
        plan: how they are to be compared.
        unfinished: runs that have no result yet.
    """

    name: str
    about: str
    runs: tuple[Run, ...]
    plan: Criteria
    unfinished: tuple[str, ...] = ()


def read(paths: Sequence[Path]) -> Found:
    """The runs of sweeps' folders, or of run folders, whose labels are then what differs in their configs.

    Raises:
        ConfigError: for a folder that is neither, and if sweeps and runs are mixed.
    """
    if not paths:
        raise ConfigError("no run or sweep is given")
    if twice := [path for n, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:n]}]:
        raise ConfigError(f"{twice[0]}: is given twice, and would count as two runs; give it once")
    swept = [path for path in paths if (path / sweep.INDEX).is_file()]
    if not swept:
        return read_runs([folder.existing(path) for path in paths])
    if len(paths) > 1:
        raise ConfigError(
            f"{swept[0]}: is a sweep, and is compared alone; or give run folders, such as a sweep's cells"
        )
    return read_sweep(swept[0])


def read_sweep(place: Path) -> Found:
    """The cells of a sweep. Raises `ConfigError` if none is finished."""
    index = sweep.read_index(place)
    cells = index["cells"]
    done = [cell for cell in cells if (place / cell["hash"] / folder.RESULT).is_file()]
    if not done:
        raise ConfigError(f"{place}: no cell is finished; run attnkit sweep on its file")
    runs = [read_run(place / cell["hash"], cell["labels"]) for cell in done]
    fields = {field.name for field in dataclasses.fields(Criteria)} & index.keys()
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value := index[name], list) else value for name in fields
    }
    plan = Criteria(**options)
    missing = tuple(cell["hash"] for cell in cells if cell not in done)
    return Found(index["name"], index["about"], tuple(runs), plan, missing)


def read_runs(paths: Sequence[Path]) -> Found:
    """Runs by what differs in their configs; those that differ in the seed alone are of one variant."""
    tables = [flat(tomllib.loads((path / folder.CONFIG).read_text(encoding="utf-8"))) for path in paths]
    keys = dict.fromkeys(key for table in tables for key in table if key not in ("about", "training.seed"))
    several = [key for key in keys if len({json.dumps(table.get(key), default=str) for table in tables}) > 1]
    kept = leading(several)
    done = [
        (path, table) for path, table in zip(paths, tables, strict=True) if (path / folder.RESULT).is_file()
    ]
    if not done:
        raise ConfigError(f"{paths[0]}: is not finished; train it, or go on with --resume")
    runs = [
        read_run(path, {key: str(table[key]) if key in table else "none" for key in kept})
        for path, table in done
    ]
    missing = tuple(str(path) for path in paths if not (path / folder.RESULT).is_file())
    columns = tuple(key for key in kept if key.startswith("task."))
    return Found("runs", "", tuple(runs), Criteria(columns=columns), missing)


def leading(keys: Sequence[str]) -> list[str]:
    """Keys without the options of a part whose kind is among them: the kind says what differs."""
    kinds = [key.removesuffix("kind") for key in keys if key.rpartition(".")[2] == "kind"]
    outer = [kind for kind in kinds if not any(kind != other and kind.startswith(other) for other in kinds)]
    return [key for key in keys if key.removesuffix("kind") in outer or not key.startswith(tuple(outer))]


def read_run(path: Path, labels: Mapping[str, str]) -> Run:
    """One run's results and metrics."""
    result: dict[str, Any] = folder.read_json(path / folder.RESULT)
    if not isinstance(result.get("splits"), dict):
        raise ConfigError(f"{path / folder.RESULT}: has no splits; run attnkit evaluate {path}")
    recorded = path / folder.METRICS
    rows = recorded.read_text(encoding="utf-8").splitlines() if recorded.is_file() else []
    return Run(path.name, labels, int(result.get("seed", 0)), result, tuple(json.loads(row) for row in rows))
