"""One flipped bit in any file that a command reads of a run: it is noticed, wherever it is."""

import shutil

import numpy as np
import pytest

from attnkit.errors import AttnkitError
from attnkit.experiment import folder, provenance, summary
from attnkit.experiment.cli import main
from attnkit.training import load
from attnkit.training.checkpoint import Checkpoints
from attnkit.training.load import TIMES


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory):
    """A copy of the finished run, evaluated once more."""
    copy = tmp_path_factory.mktemp("flips") / "run"
    shutil.copytree(small_run / "runs/small-1", copy)
    folder.append(copy / folder.EVALUATIONS, {"splits": {}, "units": {}, "loss": 0.25})
    return copy


def origin(run):
    provenance.read(run)


def result(run):
    folder.read_json(run / folder.RESULT)


def examples(run):
    folder.read_json(run / folder.EXAMPLES)


def evaluations(run):
    if any(line == "this line is damaged" for _, line in summary.evaluations(run / folder.EVALUATIONS)):
        raise ValueError


def checkpoint(run):
    checkpoints = Checkpoints(run / "checkpoints")
    for step in checkpoints.steps():
        checkpoints.verify(step)


READERS = {
    "config.toml": origin,
    "environment.json": origin,
    "code.json": origin,
    "dataset.json": origin,
    "result.json": result,
    "examples.json": examples,
    "evaluations.jsonl": evaluations,
    "metrics.jsonl": None,
    "checkpoints": checkpoint,
}


def test_every_file_of_a_run_is_tried_but_the_page_and_the_times_that_no_result_rests_on(run):
    assert {entry.name for entry in run.iterdir()} - {"lock"} == {*READERS, folder.REPORT, TIMES}


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_noticed(run, name, count, caplog):
    random, read = np.random.default_rng(7), READERS[name]
    if read is not None and name != "evaluations.jsonl":
        read(run)
    paths = [path for path in sorted(run.glob(f"{name}/**/*")) if path.is_file()] or [run / name]
    for path in paths:
        whole = path.read_bytes()
        for offset in random.integers(0, 8 * len(whole), count):
            wrong = bytearray(whole)
            wrong[offset // 8] ^= 1 << offset % 8
            path.write_bytes(wrong)
            try:
                if read is None:
                    caplog.clear()
                    load.metrics(run)
                    assert "damaged" in caplog.text, (path, offset)
                else:
                    with pytest.raises((AttnkitError, ValueError)):
                        read(run)
            finally:
                path.write_bytes(whole)


def test_a_flipped_bit_of_what_was_trained_ends_a_command(run, capsys):
    path = run / "dataset.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"1", b"2", 1))
    try:
        assert main(["evaluate", str(run)]) == 5
        assert "dataset.json" in capsys.readouterr().err
    finally:
        path.write_bytes(whole)
