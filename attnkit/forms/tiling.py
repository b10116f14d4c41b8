"""Block sizes for loops and for kernels: shipped for each platform, or measured on this kind of device.

`attnkit tune` measures, and keeps what it found in the user's cache folder: `ATTNKIT_BLOCKS` names another
folder, and is empty for the sizes that are shipped. The file of a kind of device is read once.
"""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax

from attnkit import files

TargetName = Literal["loops", "kernels"]
Step = tuple[int, int, float]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Block sizes that are worth trying on one kind of device.

    Attributes:
        dense: longest sequence computed as a single block.
        steps: sides of a block, how many neighboring blocks of a row are computed at once, and how long a
            pair takes there, relative to the first.
        exact: whether a block has these very sides; else they are the longest, and blocks as even as can be.
    """

    dense: int
    steps: tuple[Step, ...]
    exact: bool = False


# Measured: docs/performance.md. A CPU loops over heads and blocks; elsewhere few large steps are better.
STEPS = ((512, 1, 1.0), (256, 4, 1.05), (256, 3, 1.25), (256, 2, 1.3), (256, 1, 1.7), (128, 1, 2.1))
LOOPS = {"cpu": Tiling(dense=128, steps=STEPS)}
OTHERS = Tiling(dense=512, steps=((512, 1, 1.0),))
#: not measured on a device; a CPU interprets kernels, so that any size will do
KERNELS = {
    "cpu": Tiling(0, ((64, 1, 1.0),), exact=True),
    "gpu": Tiling(0, ((64, 1, 1.0),), exact=True),
    "tpu": Tiling(0, ((128, 1, 1.0),), exact=True),
}
#: sides of kernels that are measured
SIDES = {"gpu": (64, 128), "tpu": (128, 256)}


def shipped(target: TargetName, platform: str) -> Tiling:
    """The tiling of a platform as it is shipped."""
    return LOOPS.get(platform, OTHERS) if target == "loops" else KERNELS[platform]


def tiling(target: TargetName = "loops", platform: str | None = None) -> Tiling:
    """The tiling of a platform, of the one that JAX uses if it is not given: as measured, or as shipped."""
    here = jax.default_backend()
    found = shipped(target, platform or here)
    measured = remembered() if platform in (None, here) else {}
    return dataclasses.replace(found, steps=measured[target]) if target in measured else found


def remembered() -> Mapping[str, tuple[Step, ...]]:
    """Steps as measured on this kind of device, by target; empty if nothing was."""
    file = place()
    return read(file) if file else {}


@functools.cache
def read(file: Path) -> Mapping[str, tuple[Step, ...]]:
    """The steps of a file, empty if there is none. Raises `ValueError` if it holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: tuple((int(a), int(b), float(c)) for a, b, c in found[name]) for name in found}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{file}: no block sizes can be read: {error}; measure again: attnkit tune"
        ) from None


def keep_steps(steps: Mapping[TargetName, Sequence[Step]]) -> Path | None:
    """Keep measured steps, from now on; the file, `None` if there is no place. Without steps, forget them."""
    file = place()
    if file and steps:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write(file, json.dumps(steps, indent=2))
    elif file:
        file.unlink(missing_ok=True)
    read.cache_clear()
    return file


def place() -> Path | None:
    """The file of this kind of device; `None` if there is no folder for it."""
    named = os.environ.get("ATTNKIT_BLOCKS")
    folder = files.cache_folder(os.environ) if named is None else Path(named) if named else None
    kind = re.sub(r"\W+", "_", f"{jax.default_backend()}_{jax.devices()[0].device_kind}").lower()
    return folder / "blocks" / f"{kind}.json" if folder else None
