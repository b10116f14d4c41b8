"""A disk that is full at a write of a run: one line, a documented exit code, and what was saved stays."""

import json
import resource

import pytest

from attnkit.experiment import folder
from attnkit.experiment.cli import main
from attnkit.training import checkpoint
from attnkit.training.checkpoint import Checkpoints

CHECKPOINT = "cannot write the checkpoint"


@pytest.mark.parametrize(("limit", "code", "words"), [(500, 2, folder.CONFIG), (60_000, 5, CHECKPOINT)])
def test_files_of_a_limited_size(small_run, monkeypatch, capsys, limit, code, words):
    monkeypatch.chdir(small_run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        found = main(["train", "small.toml", "--quiet", "--out", f"limit{limit}"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capsys.readouterr().err
    assert found == code and words in told and told.splitlines()[-1].count("File too large") == 1
    assert told.count("error: ") == 1 and "Traceback" not in told
    rest = [path.name for path in small_run.glob(f"limit{limit}/**/*")]
    assert not any(name.endswith((".part", "lock")) or name.startswith(".writing") for name in rest)


# Threads of the library that are left behind find their event loop closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_fills_while_the_library_writes(small_run, monkeypatch, capfd):
    monkeypatch.chdir(small_run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def room(folder, needed):
        if "000000004" in str(folder):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))

    monkeypatch.setattr(checkpoint, "_check_space", room)
    try:
        found = main(["train", "small.toml", "--quiet", "--out", "filled"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capfd.readouterr().err
    (line,) = (line for line in told.splitlines() if "warning" not in line)
    assert found == 5 and line.startswith(f"error: {CHECKPOINT} of step 4 in filled/checkpoints")
    assert Checkpoints(small_run / "filled/checkpoints").steps() == [2]
    monkeypatch.undo()
    monkeypatch.chdir(small_run)
    assert main(["train", "small.toml", "--quiet", "--out", "filled", "--resume"]) == 0
    whole, other = ((small_run / at / "metrics.jsonl").read_bytes() for at in ("runs/small-1", "filled"))
    assert whole == other and not list((small_run / "filled").glob("**/.writing*"))


def test_the_report_cannot_be_written_but_the_run_is_whole(small_run, monkeypatch, capsys):
    monkeypatch.chdir(small_run)
    write = folder.write

    def full(path, content):
        if path.name == folder.REPORT:
            monkeypatch.setattr("tempfile.mkstemp", fail)
        write(path, content)

    def fail(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "write", full)
    assert main(["train", "small.toml", "--quiet", "--out", "nopage"]) == 2
    assert "report.html: cannot be written: No space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(small_run)
    assert Checkpoints(small_run / "nopage/checkpoints").steps()[-1] == 4
    assert json.loads((small_run / "nopage" / folder.RESULT).read_text())["steps"] == 4
    assert main(["report", "nopage"]) == 0
