import json
import os
import shutil

import pytest

from attnkit.errors import CheckpointError, ConfigError
from attnkit.training.checkpoint import MANIFEST, Checkpoints


class Enough(Exception):
    pass


def steps_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["split"] == "train"]


@pytest.fixture
def half(toy, tmp_path):
    """A run that crashed after 12 of its 30 steps."""
    folder = tmp_path / "half"

    def report(progress):
        if progress.step >= 12 and progress.evaluation is None:
            raise Enough

    with pytest.raises(Enough):
        toy.train(folder, report=report, steps_per_dispatch=2)
    return folder


def spoil(folder, change):
    path = folder / "metrics.jsonl"
    text = path.read_bytes().splitlines(keepends=True)
    change(text)
    path.write_bytes(b"".join(text))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (lambda text: text.__setitem__(4, b"\xff garbage\n"), [5]),
        (lambda text: text.__setitem__(4, b"[5]\n"), [5]),
        (lambda text: text.__delitem__(4), [5]),
        (lambda text: text.clear(), None),
        (lambda text: text.__setitem__(4, text[4].replace(b"0.", b"1.", 1)), []),
    ],
)
def test_a_damaged_line_of_metrics_costs_no_other_and_is_told(toy, half, caplog, change, missing):
    before, last = spoil(half, change), Checkpoints(half / "checkpoints").steps()[-1]
    toy.train(half, resume=True)
    missing = range(1, last + 1) if missing is None else missing
    kept = [step for step in range(1, 31) if step not in missing]
    assert [step for step in steps_of(half) if step in kept] == kept
    assert "metrics.jsonl: damaged" in caplog.text
    assert (half / "metrics.jsonl.damaged").read_bytes() == before


def test_metrics_that_are_a_link_are_not_written_to(toy, half, tmp_path):
    path, mine = half / "metrics.jsonl", tmp_path / "mine"
    shutil.copy(path, mine)
    content = mine.read_bytes()
    path.unlink()
    path.symlink_to(mine)
    with pytest.raises(CheckpointError, match="not a file of the run"):
        toy.train(half, resume=True)
    path.unlink()
    os.link(mine, path)
    toy.train(half, resume=True)
    assert mine.read_bytes() == content and steps_of(half) == list(range(1, 31))


def test_a_run_whose_manifests_are_gone_is_not_begun_anew(toy, half):
    for path in half.rglob(MANIFEST):
        path.unlink()
    before = {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        toy.train(half, resume=True)
    with pytest.raises(ConfigError, match=r"holds a run of 1\d steps"):
        toy.train(half)
    assert {path: path.read_bytes() for path in half.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("number", [13, 28, 30])
def test_metrics_that_cannot_be_written_end_the_run_with_one_line(toy, half, monkeypatch, number):
    saved = Checkpoints(half / "checkpoints").steps()
    write = os.write

    def fail(handle, data):
        if b'"step": 20' in bytes(data):
            raise OSError(number, os.strerror(number))
        return write(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(
            CheckpointError, match=rf"metrics.jsonl: cannot be written: {os.strerror(number)}"
        ):
            toy.train(half, resume=True)
    assert Checkpoints(half / "checkpoints").steps() == saved
    assert toy.train(half, resume=True).step == 30 and steps_of(half) == list(range(1, 31))
