"""SIGTERM and Ctrl-C at many instants of a command: the promised code, a folder saved or untouched."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import small

from attnkit.experiment import folder
from attnkit.training.checkpoint import Checkpoints

CONFIG = small.CONFIG.replace("steps = 4", "steps = 60").replace("evaluate_every = 2", "evaluate_every = 6")
CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}
LONG = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    (tmp_path / "toy.toml").write_text(CONFIG)
    return tmp_path


def start(place, *words):
    """The command line in a process of its own, once it watches its signals."""
    process = subprocess.Popen(
        [sys.executable, "-m", "attnkit", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    while not caught(process.pid) >> (signal.SIGTERM - 1) & 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    return process


def caught(pid):
    """The signals that a process has handlers for, as bits."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))


def stopped(process, number, within=10.0):
    """What the process says after the signal; it must end in time, with the promised code and one line."""
    process.send_signal(number)
    begun = time.monotonic()
    out, told = process.communicate(timeout=60)
    assert process.returncode == CODES[number], (process.returncode, told)
    assert time.monotonic() - begun < within
    wrong = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(wrong) == 1 and wrong[0].startswith(f"error: {signal.Signals(number).name}: stopped"), told
    assert "Traceback" not in told and "Exception" not in told, told
    return out, told


def is_whole(run):
    """A run folder without what an interrupted write leaves, its checkpoints verified."""
    assert not (run / folder.LOCK).exists()
    checkpoints = Checkpoints(run / "checkpoints")
    steps = checkpoints.steps()
    for step in steps:
        checkpoints.verify(step)
    lines = [json.loads(line) for line in (run / folder.METRICS).read_text().splitlines()] if steps else []
    trained = [line["step"] for line in lines if line["split"] == "train"]
    assert trained == list(range(1, len(trained) + 1))
    assert len(trained) >= (steps[-1] if steps else 0)
    return steps[-1] if steps else 0


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("trials", [3, pytest.param(30, marks=LONG)])
def test_while_the_program_starts_nothing_is_written(place, number, trials):
    for instant in np.linspace(0, 1.2, trials):
        process = start(place, "train", "toy.toml", "--quiet")
        time.sleep(instant)
        _, told = stopped(process, number, within=2)
        if not (place / "runs").exists():
            assert told == f"error: {number.name}: stopped\n"


HANGING = '''
"""A task whose data never comes."""

import time

from attnkit.option_class import options
from attnkit.tasks.contract import Task


@options
class Hanging(Task):
    """Data that never comes."""

    def load(self):
        print("loading", flush=True)
        time.sleep(300)
'''


def test_while_data_is_made_nothing_is_written(place):
    (place / "hanging.py").write_text(HANGING)
    process = start(place, "train", "toy.toml", "task=hanging.py:Hanging")
    assert process.stdout.readline() == "loading\n"
    stopped(process, signal.SIGTERM, within=2)
    assert not (place / "runs").exists()


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("trials", [1, pytest.param(20, marks=LONG)])
def test_while_it_trains_and_measures_the_steps_are_saved(place, number, trials):
    for trial in range(trials):
        run = place / f"run{trial}"
        process = start(place, "train", "toy.toml", "--out", run.name)
        for line in process.stderr:
            if line.startswith("training"):
                break
        while trial % 2 and process.poll() is None and not trained(run):
            time.sleep(0.01)
        time.sleep(0.3 * (1 + trial // 2))
        if process.poll() is None:
            _, told = stopped(process, number)
            last = is_whole(run)
            assert last == 60 or "resume" in told
        else:
            assert process.returncode == 0


def trained(run):
    """Whether the last step of a run is evaluated, so that what follows is measuring."""
    path = run / folder.METRICS
    return path.is_file() and '"step": 60, "split": "valid"' in path.read_text()
