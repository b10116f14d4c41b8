"""Tests wait for the compiler: compile fast, once for all workers, and check annotations on the way."""

import os
import shutil
import sys
import tempfile

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
#: Where compiled programs are kept until the run ends, for all its workers and child processes.
OWN_CACHE = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="attnkit-jax-")
if OWN_CACHE:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = OWN_CACHE
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
#: Rooms whose annotations beartype checks at every call (approximations get keys of no width).
CHECKED = ("pooling", "encodings", "recurrence", "scored")
install_import_hook([f"attnkit.{room}" for room in CHECKED], "beartype.beartype")


def pytest_unconfigure() -> None:
    """Delete what this process has made; workers share what their parent made."""
    if OWN_CACHE:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items: list) -> None:
    """Each supported Python checks half of the mutants: even minor versions take the even ones."""
    mutants = [
        item for item in items if item.path.name == "test_mutants.py" and "conformance" in item.path.parts
    ]
    for number, item in enumerate(mutants):
        if number % 2 != sys.version_info.minor % 2:
            item.add_marker(pytest.mark.skip(reason="checked on the other supported Python"))
