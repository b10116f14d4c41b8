"""The data, code and machine behind a run, kept in its folder, and whether they are still the same."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import pydantic

from attnkit import files
from attnkit.errors import CheckpointError, ConfigError, DataError
from attnkit.experiment import folder, importing
from attnkit.experiment.catalogue import PACKAGE
from attnkit.experiment.config import Config, moved
from attnkit.forms.tiling import remembered
from attnkit.tasks.contract import Dataset, DatasetInfo
from attnkit.tasks.respelled import Respelled
from attnkit.training.load import FOLDER

DATASET = "dataset.json"
CODE = "code.json"
KEPT = "code"
PACKAGES = ("attnkit", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
FLAGS = {
    "x64": "JAX_ENABLE_X64={}",
    "matmul_precision": "JAX_DEFAULT_MATMUL_PRECISION={}",
    "blocks": "ATTNKIT_BLOCKS to a folder with these sizes, or to nothing for those that are shipped",
}
#: what tokens and vectors stand for
MEANING = ("vocabulary", "source_vocabulary", "speller", "features", "source_features", "numbers", "grid")
TOKENS = {"vocabulary", "source_vocabulary", "speller"}
#: rooms whose code does not change what a network computes
ASIDE = ("api", "conformance", "experiment", "inspection")


@dataclasses.dataclass(frozen=True)
class Allow:
    """Permissions that a user gives a command.

    Attributes:
        imports: run code that the run folder names or holds.
        code: go on although code has changed since.
        data: go on although the data has changed since.
    """

    imports: bool = False
    code: bool = False
    data: bool = False


NOTHING = Allow()


@dataclasses.dataclass(frozen=True)
class OwnFile:
    """A user's file: where it was, and its digest."""

    file: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Code:
    """The code that a run uses.

    Attributes:
        version: of the package.
        digest: of its modules together.
        modules: digest of each module of the package, and of other packages that the config names.
        own: the user's files by their places in the run folder.
    """

    version: str
    digest: str
    modules: Mapping[str, str]
    own: Mapping[str, OwnFile]


@dataclasses.dataclass(frozen=True)
class Record:
    """The files of a run folder that say what the run is, as they were written.

    Attributes:
        environment: versions, machine and flags.
        code: digests of the code.
        dataset: values of a `DatasetInfo`.
    """

    environment: Mapping[str, Any]
    code: Code
    dataset: Mapping[str, Any]


def digest(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def environment(loaded: Config) -> dict[str, Any]:
    """Versions, machine and the flags that change numbers."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "backend": jax.default_backend(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "x64": bool(jax.config.read("jax_enable_x64")),
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",  # type: ignore[attr-defined]
        **({"blocks": json.dumps(found)} if (found := remembered()) else {}),
        "config_hash": loaded.hash(),
    }


def own(loaded: Config) -> dict[Path, tuple[str, bytes]]:
    """The user's files that a config uses: file -> its place in a run folder, and its bytes."""
    nodes = [node.entry for node in loaded.nodes() if node.entry.module.startswith(importing.OWN)]
    numbers = {home: n for n, home in enumerate(dict.fromkeys(entry.file.parent for entry in nodes), 1)}
    found = {}
    for file, data in importing.sources([entry.module for entry in nodes]).items():
        home = next(place for place in (file, *file.parents) if place in numbers)
        found[file] = (f"{KEPT}/{numbers[home]}/{file.relative_to(home).as_posix()}", data)
    return found


def portable(loaded: Config) -> dict[str, Any]:
    """The table of a config in which the user's files are those kept in the run folder."""
    return moved(loaded.table(), {str(file): place for file, (place, _) in own(loaded).items()})


def code(loaded: Config) -> Code:
    """Version and digests of the code that a config uses."""
    named = {node.entry.module for node in loaded.nodes() if not node.entry.module.startswith(importing.OWN)}
    names = sorted(named | {name for name in sys.modules if counts(name)})
    modules = {name: text for name in names if (text := module_digest(name))}
    return Code(
        version=importlib.metadata.version(PACKAGE.name),
        digest=together(modules),
        modules=modules,
        own={place: OwnFile(str(file), digest(data)) for file, (place, data) in own(loaded).items()},
    )


def together(modules: Mapping[str, str | None]) -> str:
    """One digest of the digests of some modules."""
    return digest(json.dumps(modules).encode())


def counts(name: str) -> bool:
    """Whether a module is of a room of the package whose code may change numbers."""
    steps = name.split(".")
    return steps[0] == PACKAGE.name and len(steps) > 1 and steps[1] not in (*ASIDE, "__main__")


def module_digest(name: str) -> str | None:
    """Digest of a module's file; `None` for one that has none, or was not imported."""
    steps = name.split(".")
    if steps[0] == PACKAGE.name:
        base = PACKAGE.joinpath(*steps[1:])
        tried = [base.with_suffix(".py"), base / "__init__.py"]
    else:
        tried = [Path(str(getattr(sys.modules.get(name), "__file__", "")))]
    return next((digest(path.read_bytes()) for path in tried if path.is_file()), None)


def write(place: Path, loaded: Config, dataset: Dataset, changes: Sequence[str] = ()) -> None:
    """Write all that a run folder says of what it is made of; `environment.json` seals it.

    `changes` are what its user let change since it was begun.
    """
    import tomli_w

    kept = dict(own(loaded).values())
    for name, data in kept.items():
        with folder.writable(place):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            files.write(place / name, data)
    folder.write(place / folder.CONFIG, tomli_w.dumps(portable(loaded)))
    folder.write_json(place / DATASET, dataset.values())
    folder.write_json(place / CODE, dataclasses.asdict(code(loaded)))
    names = (folder.CONFIG, DATASET, CODE, *sorted(kept))
    digests = {name: digest((place / name).read_bytes()) for name in names}
    told = {**environment(loaded), "changed": [*changes], "files": digests}
    folder.write_json(place / folder.ENVIRONMENT, told)


def holds(place: Path) -> bool:
    """Whether a folder has checkpoints, whole or not."""
    home = place / FOLDER
    return home.is_dir() and any(home.iterdir())


def read(place: Path) -> Record:
    """Record of a run: its environment, code and data, as the folder has them.

    Raises:
        ConfigError: if its config is missing, or not the one that was trained.
        CheckpointError: if another of these files is missing or damaged.
    """
    if not (place / folder.CONFIG).is_file():
        raise ConfigError(f"{place / folder.CONFIG}: is missing, but the folder holds a run; put it back")
    try:
        told = folder.read_json(place / folder.ENVIRONMENT)
    except ConfigError as error:
        hint = "runs of earlier versions lack it; train again" if not (place / DATASET).exists() else error
        raise CheckpointError(f"{place / folder.ENVIRONMENT}: cannot be used: {hint}") from None
    digests = told.get("files")
    if not isinstance(digests, dict) or not {folder.CONFIG, DATASET, CODE} <= digests.keys():
        raise CheckpointError(f"{place / folder.ENVIRONMENT}: has no digests of the other files; train again")
    for name, wanted in digests.items():
        path = place / str(name)
        if not path.resolve().is_relative_to(place.resolve()):
            raise CheckpointError(f"{path}: is outside of the run folder")
        found = digest(path.read_bytes()) if path.is_file() else "missing"
        if found != wanted:
            fault = ConfigError if name == folder.CONFIG else CheckpointError
            raise fault(f"{path}: SHA-256 {found}, the run was made with {wanted}; put that file back")
    try:
        known = pydantic.TypeAdapter(Code).validate_python(folder.read_json(place / CODE))
    except ValueError as error:
        raise CheckpointError(f"{place / CODE}: not as this version writes it: {brief(error)}") from None
    return Record(told, known, folder.read_json(place / DATASET))


def brief(error: ValueError) -> str:
    """An error on one line."""
    return " ".join(str(error).split())[:300]


def info(record: Record, task: Any, place: Path) -> DatasetInfo:
    """The description of a run's data. Raises `CheckpointError` if it is none."""
    try:
        return DatasetInfo.of(task, record.dataset)
    except ValueError as error:
        raise CheckpointError(f"{place / DATASET}: not as this version writes it: {brief(error)}") from None


def changed_files(record: Record) -> dict[str, str]:
    """If one of the user's files is not as it was, where it was: kept name -> file now, of all there are."""
    now = {name: entry.file for name, entry in record.code.own.items() if Path(entry.file).is_file()}
    return now if any(True for _ in own_differences(record, now)) else {}


def own_differences(record: Record, now: Mapping[str, str]) -> Iterator[str]:
    """A line for each of the user's files that is not as it was; `now` has kept name -> file now."""
    for name, file in now.items():
        known = record.code.own.get(name)
        new = digest(Path(file).read_bytes())
        if known is not None and new != known.sha256:
            yield f"{file}: SHA-256 {new}, the run was trained with {known.sha256} (kept as {name})"


def package_differences(record: Record) -> Iterator[str]:
    """A line if modules of the package, or of others that the config names, are not as they were."""
    trained = record.code.modules
    now = {
        name: module_digest(name) if counts(name) or name in sys.modules else trained[name]
        for name in trained
    }
    wrong = [name for name in trained if now[name] != trained[name]]
    if wrong:
        version = importlib.metadata.version(PACKAGE.name)
        yield (
            f"{PACKAGE.name} {version} has digest {together(now)}, the run was trained with {PACKAGE.name} "
            f"{record.code.version}, digest {record.code.digest}; changed: {some(wrong)}"
        )


def code_differences(record: Record, loaded: Config) -> Iterator[str]:
    """A line for all code that a run to go on uses and that is not as it was."""
    yield from own_differences(record, {place: str(file) for file, (place, _) in own(loaded).items()})
    yield from package_differences(record)


def refuse_flags(record: Record, loaded: Config, place: Path) -> None:
    """Raise `ConfigError` if a run would go on with other numbers than it began with."""
    now = environment(loaded)
    for name, way in FLAGS.items():
        here, was = (some.get(name, "as shipped") for some in (now, record.environment))
        if was != here:
            raise ConfigError(f"{name} = {here}: the run in {place} has {was}; set {way.format(was)}")


def some(names: list[str]) -> str:
    """The first few of some names."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def refuse_code(changes: list[str], allow: Allow) -> None:
    """Raise `ConfigError` for changes of the code that the user did not allow."""
    if changes and not allow.code:
        raise ConfigError(
            "\n".join(f"{line}; put that back, or say --allow-changed-code" for line in changes)
        )


def data_differences(known: DatasetInfo, data: Dataset, allow: Allow) -> list[str]:
    """A line if the data is not what the run was trained on.

    Raises:
        DataError: naming both fingerprints, if that is not allowed.
    """
    if known.fingerprint == data.fingerprint:
        return []
    line = (
        f"the data has fingerprint {data.fingerprint}, the run was trained on {known.fingerprint}"
        f"{''.join(file_differences(known.facts, data.facts))}"
    )
    if not allow.data:
        raise DataError(f"{line}; restore the data, or say --allow-changed-data")
    return [line]


def in_ids_of(known: DatasetInfo, data: Dataset) -> Dataset:
    """Changed data in the token ids that a network was trained with.

    Raises:
        DataError: if that cannot be done exactly.
    """
    different = [name for name in MEANING if known.values()[name] != data.values()[name]]
    if not different:
        return data
    try:
        if others := set(different) - TOKENS:
            raise DataError(f"it has other {', '.join(sorted(others))}")
        return Respelled(data, known)
    except DataError as error:
        raise DataError(f"the data cannot be read by the network as it is: {error}; restore it") from None


def file_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """`; words.txt now has 740 lines, it had 700` for each file of the data that has changed."""
    before = [entry for entry in old.get("files", [old]) if "sha256" in entry]
    after = [entry for entry in new.get("files", [new]) if "sha256" in entry]
    for was, now in zip(before, after, strict=False):
        if was["sha256"] != now["sha256"]:
            yield f"; {now.get('file')} now has {now.get('lines')} lines, it had {was.get('lines')}"
