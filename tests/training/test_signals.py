import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from attnkit.errors import Preempted
from attnkit.signals import Interrupted, Interruption
from attnkit.training import checkpoint
from attnkit.training.checkpoint import Checkpoints

PROGRAM = Path(__file__).with_name("toy.py")


def ask(number=signal.SIGTERM):
    os.kill(os.getpid(), number)
    time.sleep(0.05)


@contextlib.contextmanager
def program(folder, cache, **plan):
    """The toy program, training in `folder`, ended at the latest with the block."""
    settings = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), json.dumps(plan)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings, "JAX_PLATFORMS": "cpu"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_step(process, step):
    for line in process.stdout:
        word, what = line.split()[0], line.split()[-1]
        if word.isdigit() and int(word) >= step and what == "step":
            return int(word)
    raise AssertionError(process.stderr.read())


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    toy.train(folder)
    return folder


def logged(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def finishes_like(whole, folder, toy, state_of):
    toy.train(folder, resume=True)
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert state_of(folder) == state_of(whole)


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(signal.SIGTERM, Preempted, 75), (signal.SIGINT, Interrupted, 130)]
)
def test_a_signal_saves_and_resuming_changes_no_bit(toy, tmp_path, whole, state_of, number, kind, code):
    def report(progress):
        if progress.step == 12:
            ask(number)

    with pytest.raises(kind, match=r"stopped after step 14 of 30.*resume") as caught:
        toy.train(tmp_path, report=report, steps_per_dispatch=2)
    assert caught.value.exit_code == code and type(caught.value) is kind
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == logged(tmp_path)[-1]["step"] == 14
    finishes_like(whole, tmp_path, toy, state_of)


def test_a_signal_during_compilation(toy, tmp_path, whole, state_of, monkeypatch):
    plain = toy.ToyNetwork.__call__

    def slow(self, batch, *, key=None):
        if toy.ToyNetwork.traces == 0:
            ask()
        return plain(self, batch, key=key)

    monkeypatch.setattr(toy.ToyNetwork, "traces", 0)
    monkeypatch.setattr(toy.ToyNetwork, "__call__", slow)
    with pytest.raises(Preempted):
        toy.train(tmp_path, steps_per_dispatch=1)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [1]
    finishes_like(whole, tmp_path, toy, state_of)


@pytest.mark.parametrize("when", [1, 3, 6])
def test_a_signal_during_evaluation_logs_no_part_of_it(toy, tmp_path, whole, state_of, when):
    count = 0

    class Evaluated(toy.ToyDataset):
        def evaluation(self, split, size):
            nonlocal count
            for batch in super().evaluation(split, size):
                count += 1
                if count == when + 6:
                    ask()
                yield batch

    with pytest.raises(Preempted):
        toy.train(tmp_path, dataset=Evaluated())
    assert [line["step"] for line in logged(tmp_path) if line["split"] != "train"] == [10]
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 20
    finishes_like(whole, tmp_path, toy, state_of)


@pytest.mark.parametrize("save", [1, 2, 3])
def test_a_signal_during_a_save(toy, tmp_path, whole, state_of, monkeypatch, save):
    write, count = checkpoint._write_arrays, 0

    def interrupted(folder, flat):
        nonlocal count
        count += 1
        if count == save:
            ask()
        write(folder, flat)

    monkeypatch.setattr(checkpoint, "_write_arrays", interrupted)
    with pytest.raises(Preempted):
        toy.train(tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 10 * save
    finishes_like(whole, tmp_path, toy, state_of)


def test_earlier_handlers_come_back_however_the_run_ends(toy, tmp_path):
    def mine(number, frame):
        pass

    def report(progress):
        raise KeyError("stop")

    before = signal.signal(signal.SIGTERM, mine), signal.getsignal(signal.SIGINT)
    try:
        toy.train(tmp_path / "good", steps=1)
        assert signal.getsignal(signal.SIGTERM) is mine
        with pytest.raises(KeyError):
            toy.train(tmp_path / "bad", steps=1, report=report)
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is before[1]
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, before[0])


def test_a_data_set_that_hangs_does_not_keep_the_run(toy, tmp_path):
    release = threading.Event()

    class Hanging(toy.ToyDataset):
        def batch(self, seed, step, size):
            if step == 9:
                threading.Timer(0.1, ask).start()
                release.wait(60)
            return super().batch(seed, step, size)

    begun = time.monotonic()
    try:
        with pytest.raises(Preempted, match="stopped after step 9 of 30"):
            toy.train(tmp_path, dataset=Hanging(), steps_per_dispatch=3)
    finally:
        release.set()
    assert time.monotonic() - begun < 30
    assert Checkpoints(tmp_path / "checkpoints").steps() == [9]


def test_a_signal_that_nobody_answered_goes_to_the_handler_before():
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with Interruption() as asked:
            ask()
            assert asked.asked and not received
        assert received == [signal.SIGTERM]
        with pytest.raises(Preempted), Interruption() as asked:
            ask()
            raise asked.error("saved")
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("unsaved", [False, True])
def test_a_command_with_nothing_to_save_ends_at_once(unsaved):
    code = f"""
import os, signal, time
from attnkit.signals import Ending, Interruption, last_act
with Ending(), last_act(lambda: "go on"), last_act(lambda: 1 / 0), Interruption() as asked:
    asked.unsaved = {unsaved}
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1 if {unsaved} else 60)
    print(asked.asked)
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 75 and done.stderr == "error: SIGTERM: stopped; go on\n"


def test_no_thread_stays_behind():
    with Interruption() as asked:
        assert any(thread.name == "signals" for thread in threading.enumerate())
        assert not asked.asked
    time.sleep(0.1)
    assert not any(thread.name == "signals" for thread in threading.enumerate())


def test_outside_the_main_thread_a_run_warns_and_works(toy, tmp_path, caplog):
    found = []
    thread = threading.Thread(target=lambda: found.append(toy.train(tmp_path, steps=2)))
    thread.start()
    thread.join()
    assert found[0].step == 2
    assert "not in the main thread" in caplog.text


@pytest.mark.parametrize("trials", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_sigterm_from_outside(toy, tmp_path, cache, trials):
    for trial in range(trials):
        folder = tmp_path / str(trial)
        with program(folder, cache, steps=100_000, evaluate_every=0, slow=0.01) as process:
            wait_for_step(process, int(np.random.default_rng(trial).integers(1, 100)))
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            _, told = process.communicate(timeout=60)
            assert process.returncode == 75 and "SIGTERM: stopped after step" in told
            assert "Traceback" not in told and time.monotonic() - started < 10
        assert Checkpoints(folder / "checkpoints").steps()[-1] == logged(folder)[-1]["step"]


def test_a_second_signal_ends_the_process_at_once(tmp_path, cache):
    with program(
        tmp_path, cache, steps=100_000, evaluate_every=5, slow=0.01, steps_per_dispatch=1
    ) as process:
        wait_for_step(process, 12)
        process.send_signal(signal.SIGSTOP)
        # Both arrive before the first can be answered.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        started = time.monotonic()
        process.communicate(timeout=60)
        assert process.returncode in (130, 143) and time.monotonic() - started < 2
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.verify(checkpoints.steps()[-1])


@pytest.mark.parametrize("trials", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_sigkill_at_any_instant(toy, tmp_path, cache, trials, whole, state_of):
    random, kills = np.random.default_rng(11), 0
    # Every step is evaluated and saved, so that many of the instants fall into a save.
    plan = {"steps": 30, "evaluate_every": 1, "steps_per_dispatch": 1}
    for _ in range(trials):
        with program(tmp_path, cache, **plan) as process:
            line = process.stdout.readline()
            while line and not line[0].isdigit() and line[:4] != "done":
                line = process.stdout.readline()
            if line[:4] == "done":
                break
            time.sleep(random.uniform(0, 0.4))
            process.kill()
            process.wait()
            kills += 1
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        if checkpoints.steps():
            checkpoints.verify(checkpoints.steps()[-1])
    assert kills
    fitted = toy.train(tmp_path, resume=True, **plan)
    assert fitted.step == 30
    other = tmp_path / "other"
    toy.train(other, **plan)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert state_of(tmp_path) == state_of(other)
