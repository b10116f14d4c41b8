"""The table of bad inputs: each ends with its exit code and lines that say why; none shows a traceback."""

import importlib.util
import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from attnkit.experiment.cli import main

spec = importlib.util.spec_from_file_location("bad_inputs", Path(__file__).with_name("bad_inputs.py"))
bad = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bad)

MOST_LINES = 15


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_run):
    """A working directory with the good config, a file that is none, a full folder and a finished run."""
    place = tmp_path_factory.mktemp("bad")
    shutil.copytree(small_run, place, dirs_exist_ok=True)
    (place / "good.toml").write_text(bad.CONFIG)
    (place / "bad.txt").write_text("no config\n")
    (place / "sweep.toml").write_text(bad.CONFIG + "\n[sweep]\nseeds = 2\n")
    (place / "full").mkdir()
    (place / "full/x").write_text("")
    return place


@pytest.fixture
def refused(place, monkeypatch, capfd):
    """Run a command that must be refused, and return what it said."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))

    def refused(words, code, expected):
        before = listing(place)
        found = main(words)
        out, told = capfd.readouterr()
        assert found == code if code else found in (2, 3, 5), told
        assert expected in told and out == "" and "Traceback" not in told, told
        lines = told.splitlines()
        assert 0 < len(lines) <= MOST_LINES and all(letter.isprintable() or letter == "\n" for letter in told)
        assert lines[-1].startswith("error: ") or ("usage: " in told and ": error: " in told), told
        assert listing(place) == before
        return told

    return refused


def listing(place):
    """Every file below a folder, with its time."""
    return sorted((path.as_posix(), path.lstat().st_mtime_ns) for path in place.rglob("*") if path.is_file())


def test_the_table_is_long():
    tables = (bad.CONFIGS, bad.OVERRIDES, bad.OPTIONS, bad.DATA, bad.RUNS)
    assert sum(map(len, tables)) >= 200


@pytest.mark.parametrize("name", bad.CONFIGS)
def test_config_files(refused, place, name):
    content, expected = bad.CONFIGS[name]
    file = place / "config.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        refused(["validate", "config.toml"], 2, expected)
    finally:
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("words", bad.OVERRIDES, ids=ascii)
def test_overrides(refused, words):
    refused(["validate", "good.toml", *words.split("; ")], 2, bad.OVERRIDES[words])


@pytest.mark.parametrize("words", bad.OPTIONS, ids=ascii)
def test_options(refused, words):
    code, expected = bad.OPTIONS[words]
    refused(words.split(), code, expected)


@pytest.mark.parametrize("name", bad.DATA)
def test_data_files(refused, place, name):
    task, content, expected = bad.DATA[name]
    file = place / "data.txt"
    if content is not None:
        file.write_bytes(content)
    try:
        words = [f"task={{kind='{task}',path='data.txt'}}", "model=decoder"]
        refused(["train", "good.toml", *words, "--quiet"], 3, expected)
    finally:
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("name", bad.RUNS)
def test_run_folders(refused, place, name):
    command, spoil, code, expected = bad.RUNS[name]
    copy = place / "copy"
    shutil.copytree(place / "runs/small-1", copy)
    (copy / "nonfinite.json").write_bytes(b"")
    try:
        spoil(copy)
        words = {
            "predict": ["predict", "copy", "one"],
            "resume": ["train", "small.toml", "--resume", "--out", "copy"],
        }
        refused(words.get(command, [command, "copy"]), code, expected)
    finally:
        shutil.rmtree(copy)


def test_a_closed_standard_output_is_said_before_anything_is_done(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["predict", "runs/small-1", "one"]) == 2
    assert capfd.readouterr().err == "error: standard output is closed; send it to a file, or to /dev/null\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("model.model_dim=1000000000", "parameters, training needs memory of at least"),
        ("training.batch_size=10000000", "the logits of a batch need memory of at least"),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_made(refused, words, expected):
    refused(["train", "good.toml", words], 2, expected)


def test_failures_of_the_machine_are_one_line(refused, monkeypatch):
    from attnkit.experiment import run

    for error, expected in (
        (MemoryError(), "lower training.batch_size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes."), "lower training.batch_size"),
        (OSError(28, "No space left on device", "x\x1b/y"), "x\\x1b/y: No space left on device"),
        (PermissionError(13, "Permission denied", "runs"), "runs: Permission denied"),
    ):

        def fail(*given, error=error, **options):
            raise error

        monkeypatch.setattr(run, "start", fail)
        refused(["train", "good.toml"], 2, expected)


def test_a_platform_that_is_absent_is_one_line(refused, monkeypatch):
    from attnkit.experiment import machine, run

    def fail(*given):
        raise AssertionError

    monkeypatch.setitem(os.environ, "JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(machine, "has_devices", lambda: False)
    monkeypatch.setattr(run, "start", fail)
    refused(["train", "good.toml"], 2, "JAX_PLATFORMS=cuda: JAX finds no such device; unset it")
