"""Failures of the machine as one line that says which option to change."""

import os
from typing import Any

import jax

from attnkit.errors import AttnkitError, ConfigError, PeerLost

LOWER = (
    "lower training.batch_size or raise training.accumulate, lower training.evaluation_batch_size, or make "
    "the model smaller"
)
#: Networks whose options are all so small that they fit any memory are not measured before they are built.
LAYERS = 4096


def explained(error: BaseException) -> AttnkitError | None:
    """The error to show for a failure of the machine; `None` if it is none, but a mistake in a program."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return ConfigError(f"out of memory: {text[:200] or 'of the machine'}; {LOWER}")
    if any(word in text for word in ("Gloo", "NCCL", "oordination service", "CoordinationService")):
        return PeerLost(
            f"another process of this run has ended: {text[:200]}; look at its output, then start all again "
            "with --resume"
        )
    if not has_devices():
        asked = os.environ.get("JAX_PLATFORMS", "")
        return ConfigError(f"JAX_PLATFORMS={asked}: JAX finds no such device; unset it, or set it to cpu")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return ConfigError(f"{place}{error.strerror or text}")
    return None


def has_devices() -> bool:
    """Whether JAX can use the platform that it is told to use."""
    try:
        return bool(jax.devices())
    except (RuntimeError, AssertionError):
        return False


def memory() -> int:
    """Bytes of memory of a device, or of the machine where the device does not say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(stats.get("bytes_limit", 0)) or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_large(table: Any) -> bool:
    """Whether the options of a network are large enough to ask how much memory it needs."""
    return LAYERS * 4 * largest(table) ** 2 > memory()


def largest(table: Any) -> int:
    """The largest integer in nested tables and lists."""
    if isinstance(table, dict | list | tuple):
        return max(map(largest, table.values() if isinstance(table, dict) else table), default=0)
    return table if isinstance(table, int) else 0


def check_memory(what: str, needed: int, advice: str) -> None:
    """Raise `ConfigError` if something needs more bytes than there are."""
    there = memory()
    if needed > there:
        raise ConfigError(
            f"{what} of at least {needed / 2**30:.4g} GiB; the memory has {there / 2**30:.3g} GiB; {advice}"
        )
