import contextlib
import os
from pathlib import Path

import pytest

from attnkit.experiment import compilation_cache
from attnkit.experiment.cli import main


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The environment without settings of the cache, and a home folder."""
    for name in [name for name in os.environ if name.startswith(("JAX_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path
    for name in compilation_cache.settings(Path("x")):
        os.environ.pop(name, None)


def test_the_cache_is_in_the_users_cache_folder(environment, monkeypatch):
    compilation_cache.enable()
    found = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert found.parent == environment / "home/.cache/attnkit/compiled" and found.is_dir()
    del os.environ["JAX_COMPILATION_CACHE_DIR"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(environment / "other"))
    compilation_cache.enable()
    assert Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).parent == environment / "other/attnkit/compiled"


def test_the_environment_wins(environment, monkeypatch):
    mine = str(environment / "mine")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", mine)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    compilation_cache.enable()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == mine
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://mine/compiled")
    compilation_cache.enable()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "gs://mine/compiled"
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    compilation_cache.enable()
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "7"


@pytest.mark.parametrize("home", ["", "relative", "/proc/none"])
def test_without_a_place_there_is_no_cache(environment, monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    compilation_cache.enable()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_folder_that_cannot_be_written_is_one_warning_and_no_cache(environment, monkeypatch, caplog):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/proc/none")
    compilation_cache.enable()
    assert caplog.messages == [
        "JAX_COMPILATION_CACHE_DIR = /proc/none: cannot be written; compiled programs are not kept"
    ]
    assert not [name for name in os.environ if name.startswith("JAX_")]


def test_an_option_switches_it_off(environment, workplace):
    assert main(["validate", "config.toml", "--no-cache"]) == 0
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    assert main(["validate", "config.toml"]) == 0
    assert "JAX_COMPILATION_CACHE_DIR" in os.environ


def test_an_entry_of_a_process_that_was_killed_does_not_stop_the_cache(environment):
    pytest.importorskip("filelock")
    from jax._src.lru_cache import LRUCache

    compilation_cache.enable()
    found = os.environ.pop("JAX_COMPILATION_CACHE_DIR")
    (Path(found) / "half-cache").write_bytes(b"compiled")
    cache = LRUCache(found, max_size=1000)
    with contextlib.suppress(FileNotFoundError):  # not on every version of JAX
        cache.put("old", b"program")
    compilation_cache.enable()
    cache.put("new", b"program")
    assert (cache.get("half"), cache.get("new")) == (b"compiled", b"program")
