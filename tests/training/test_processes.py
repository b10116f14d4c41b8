import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attnkit.errors import ConfigError, PeerLost
from attnkit.training import processes
from attnkit.training.checkpoint import Checkpoints

ONE, TWO = "process 1 of 3 did not come to", "processes 1, 2 of 3 did not come to"


def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def meeting(count, numbers, patience):
    """What each of the processes `numbers` of `count` says when they meet; empty if all came."""
    address = f"127.0.0.1:{free_port()}"

    def come(number):
        try:
            processes.meet(address, count, number, patience)
        except PeerLost as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(come, numbers))


def test_processes_wait_for_each_other():
    assert meeting(3, [2, 0, 1], patience=20.0) == [""] * 3


@pytest.mark.parametrize(
    ("came", "said"), [([0, 2], ONE), ([0], TWO), ([1], "process 0 of 3 did not come to")]
)
def test_those_that_came_say_who_is_missing(came, said):
    begun = time.monotonic()
    for line in meeting(3, came, patience=1.0):
        assert line.startswith(said) and "look at " in line and "\n" not in line
    assert time.monotonic() - begun < 10


def test_the_environment_says_which_process_this_is(monkeypatch):
    for name in (*processes.LAUNCHED, processes.ADDRESS, processes.COUNT, processes.NUMBER):
        monkeypatch.delenv(name, raising=False)
    assert processes.found() == (None, 1, 0, None)
    with pytest.raises(ConfigError, match="--processes 2: 1 was started; start each with JAX_COORD"):
        processes.joined(2).__enter__()
    with pytest.raises(ConfigError, match="--processes -1: expected at least 1"):
        processes.joined(-1).__enter__()
    given = {processes.ADDRESS: "10.0.0.1:1234", processes.COUNT: "4", processes.NUMBER: "3"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert processes.found() == ("10.0.0.1:1234", 4, 3, None)
    monkeypatch.setenv(processes.NUMBER, "4")
    with pytest.raises(ConfigError, match="a number of this process below the number of all"):
        processes.found()
    monkeypatch.setenv(processes.NUMBER, "")
    with pytest.raises(ConfigError, match="JAX_PROCESS_ID=: expected a number; the launcher must set it"):
        processes.found()


class Started:
    """Processes that train the toy network in one folder."""

    def __init__(self, folder, count, devices=1, **plan):
        address, program = f"127.0.0.1:{free_port()}", Path(__file__).with_name("process.py")
        shared = os.environ | {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
        shared |= {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
        self.all = [
            subprocess.Popen(
                [sys.executable, str(program), str(folder), json.dumps(plan)],
                env=shared | {"JAX_PROCESS_ID": str(number)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(count)
        ]

    def ends(self):
        """Exit code, last line of output and last line of errors of each."""
        found = []
        for one in self.all:
            out, err = one.communicate(timeout=240)
            found.append((one.returncode, *(text.strip().rpartition("\n")[2] for text in (out, err))))
        return found


@pytest.mark.slow
def test_two_processes_train_as_one_and_a_signal_to_one_stops_both_at_a_step(tmp_path):
    assert Started(tmp_path / "alone", 1, devices=2).ends()[0][:2] == (0, "done 30")
    started = Started(tmp_path / "two", 2, slow=0.1, steps_per_dispatch=2)
    while "evaluation" not in (line := started.all[1].stdout.readline()):
        assert line, started.ends()
    started.all[1].terminate()
    (first, _, said), (second, _, own) = started.ends()
    assert (first, second) == (75, 75), (said, own)
    assert said.startswith("error: another process was stopped: stopped after step ")
    assert own == said.replace("another process was stopped", "SIGTERM")
    stopped = int(said.split("step ")[1].split()[0])
    assert 10 <= stopped < 30 and max(Checkpoints(tmp_path / "two/checkpoints").steps()) == stopped
    assert [end[:2] for end in Started(tmp_path / "two", 2).ends()] == [(0, "done 30"), (0, "done 30")]
    alone, two = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("alone", "two"))
    assert alone == two


@pytest.mark.slow
def test_a_number_that_is_not_finite_stops_both_processes_at_the_same_step(tmp_path):
    ends = Started(tmp_path, 2, poison=[12], fsdp=2).ends()
    assert [end[0] for end in ends] == [4, 4], ends
    assert ends[0][2] == ends[1][2] and ends[0][2].startswith("error: step 13: batch is not finite")


@pytest.mark.slow
def test_a_number_that_is_not_finite_in_one_process_stops_both_with_one_diagnosis(tmp_path):
    ends = Started(tmp_path, 2, poison=[12], only=1, batch_size=6, steps_per_dispatch=4).ends()
    assert [end[0] for end in ends] == [4, 4], ends
    assert ends[0][2] == ends[1][2] and ends[0][2].startswith(
        "error: step 13: batch is not finite, first at batch/weights"
    )
    assert Checkpoints(tmp_path / "checkpoints").steps() == [10, 12]
    dump = json.loads((tmp_path / "nonfinite.json").read_text())
    assert (dump["step"], dump["what"], dump["path"]) == (13, "batch", "batch/weights")
    assert [path.name for path in tmp_path.rglob("nonfinite*")] == ["nonfinite.json"]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "saved"), [(0, []), (13, [10, 12])])
def test_data_that_one_process_cannot_make_stops_both_before_the_same_step(tmp_path, step, saved):
    ends = Started(tmp_path, 2, broken=step, only=1, steps_per_dispatch=2).ends()
    assert [end[0] for end in ends] == [3, 3], ends
    assert ends[0][2] == "error: process 1: an error in its data; look at its output"
    assert ends[1][2] == "error: in the code of the data set: RuntimeError: the disk is on fire"
    assert Checkpoints(tmp_path / "checkpoints").steps() == saved


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_other_soon(tmp_path):
    started = Started(tmp_path, 2, slow=0.1, steps_per_dispatch=1)
    while "step" not in (line := started.all[0].stdout.readline()):
        assert line, started.ends()
    started.all[1].kill()
    begun = time.monotonic()
    assert started.ends()[0][0] not in (0, None)
    assert time.monotonic() - begun < processes.SILENCE + 5


@pytest.mark.slow
def test_a_run_of_eight_devices_goes_on_to_the_bit_and_on_one_device_nearly(tmp_path):
    shards = {"devices": 8, "batch_size": 8, "fsdp": 4}
    # A run that stops at step 13 has the schedule of the whole only if its length is the same: it is stopped.
    assert Started(tmp_path / "whole", 1, **shards).ends()[0][:2] == (0, "done 30")
    for name, again in (("parts", shards), ("moved", {"batch_size": 8})):
        started = Started(tmp_path / name, 1, **shards, slow=0.1, steps_per_dispatch=2)
        while "evaluation" not in (line := started.all[0].stdout.readline()):
            assert line, started.ends()
        started.all[0].terminate()
        assert started.ends()[0][0] == 75
        code, last, said = Started(tmp_path / name, 1, **again).ends()[0]
        assert (code, last) == (0, "done 30")
        assert ("resumed on 1 device(s), trained on 8 before" in said) == (name == "moved"), said
    whole, parts, moved = (tmp_path / name / "checkpoints" for name in ("whole", "parts", "moved"))
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "parts/metrics.jsonl").read_bytes()
    manifests = [Checkpoints(folder).verify(30) for folder in (whole, parts, moved)]
    assert manifests[0].leaves == manifests[1].leaves == manifests[2].leaves
