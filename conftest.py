"""Tests wait for the compiler: compile fast, once for all workers, and check annotations on the way."""

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

#: Block sizes as they are shipped, whatever was measured on this machine.
os.environ.setdefault("ATTNKIT_BLOCKS", "")
#: Where compiled programs are kept until the run ends, for all its workers and child processes.
OWN_CACHE = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="attnkit-jax-")
if OWN_CACHE:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = OWN_CACHE
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
#: Rooms whose annotations are checked at every call. Inspection says `int`, `float` and `np.ndarray` where it
#: takes scalars of numpy and ranges, too; the other rooms above forms were not tried.
CHECKED = [
    "variant",
    "points",
    "masks",
    "encodings",
    "scored",
    "recurrence",
    "approximate",
    "forms",
    "pooling",
]
#: Folders of tests that every supported Python runs whole, as what they test leans on JAX and Python most.
WHOLE = {"tests", "tests/api"}
# Only now, as JAX reads the place of its cache when it is imported.
QUICK_COMPILE = importlib.import_module("attnkit.jax_api").QUICK_COMPILE
os.environ.setdefault(
    "XLA_FLAGS", " ".join(f"--{name}={value}".lower() for name, value in QUICK_COMPILE.items())
)
install_import_hook([f"attnkit.{room}" for room in CHECKED], "annotation_check.check")


def pytest_unconfigure() -> None:
    """Delete what this process has made; workers share what their parent made."""
    if OWN_CACHE:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--whole`: run also what the other supported Python runs."""
    parser.addoption("--whole", action="store_true", help="run both halves of the tests marked one_python")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each supported Python runs half of the files outside `WHOLE` and half of the tests marked `one_python`.

    Marked tests are told apart by their parameters: tests of a file that have the same ones stay together, as
    they may share compiled programs.
    """
    elsewhere = pytest.mark.skip(reason="runs on the other supported Python; --whole runs it here too")
    for item in items:
        if item.get_closest_marker("one_python"):
            key = item.callspec.id if hasattr(item, "callspec") else item.name
        elif item.path.parent.relative_to(config.rootpath).as_posix() not in WHOLE:
            key = item.path.name
        else:
            continue
        if zlib.crc32(key.encode()) % 2 != sys.version_info.minor % 2 and not config.getoption("whole"):
            item.add_marker(elsewhere)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config `small.toml` and its finished run `runs/small-1`, made with the command line."""
    import small

    from attnkit.experiment.cli import main

    place = tmp_path_factory.mktemp("small")
    about = 'about = "a </script><img src=x onerror=alert(1)> test"\n\n'
    (place / "small.toml").write_text(about + small.CONFIG)
    with contextlib.chdir(place):
        assert main(["train", "small.toml", "--quiet"]) == 0
    return place
