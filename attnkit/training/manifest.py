"""The manifest of a checkpoint: what it holds, and the SHA-256 of every file, its own included."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from pydantic import ConfigDict, TypeAdapter, ValidationError

from attnkit import files
from attnkit.errors import CheckpointError
from attnkit.training.pytree_io import Leaf

#: 1 had the columns of keys and values in another order, and no matrix of their own for gates
FORMAT = 2
MANIFEST = "manifest.json"
LARGEST = 1 << 26
LAYOUT: Any = {"indent": 1, "sort": True}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Description of a checkpoint, readable without its arrays.

    Attributes:
        step: updates made.
        metric: the number that is least for the best checkpoint; `None` if not measured or not finite.
        facts: the writer's own facts: data cursor, fingerprint of the data.
        leaves: every leaf by its path.
        files: SHA-256 of every file by its path below the checkpoint's folder.
        format: version of this layout, and of how networks lay out their parameters.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    step: Annotated[int, Ge(0)]
    metric: float | None
    facts: Mapping[str, Any]
    leaves: Mapping[str, Leaf]
    files: Mapping[str, str]
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write it into `folder`, replacing an earlier one in one move.

        It is made beside `folder`: a process that ends meanwhile leaves nothing in a checkpoint.
        """
        body = dataclasses.asdict(self)
        with files.replacing(folder / MANIFEST, folder.parent) as file:
            file.write(files.sealed(body, **LAYOUT))
        sync(folder)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of the checkpoint in `folder`. Raises `CheckpointError` for any doubt about it."""
        path = folder / MANIFEST
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError(f"more than {LARGEST} bytes")
            body = files.unsealed(path.read_bytes(), **LAYOUT)
            version = body["format"]
        except (OSError, ValueError, LookupError) as error:
            raise CheckpointError(f"{path}: not a manifest: {error}") from None
        if isinstance(version, int) and version != FORMAT:
            way = "update attnkit" if version > FORMAT else "train again, or use the attnkit that wrote it"
            raise OtherFormat(f"{path}: has format {version}, this attnkit reads format {FORMAT}; {way}")
        try:
            return _adapter().validate_json(json.dumps(body))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CheckpointError(f"{path}: not a manifest: {where}: {first['msg']}") from None


@functools.cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


class OtherFormat(CheckpointError):
    """The checkpoint is sound, but a newer or an older attnkit wrote it."""


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the manifest; a word for what is no file that can be read."""
    found = {}
    for path in entries(folder):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        # A link is never followed out of the checkpoint.
        if path.is_symlink() or not path.is_file():
            found[name] = "not a file"
            continue
        try:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            found[name] = f"unreadable: {error.strerror}"
    return found


def entries(folder: Path) -> list[Path]:
    """Everything below a folder but folders."""
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]


def sync(path: Path) -> None:
    """Make sure that a file or folder survives the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
