"""Loggers get what `metrics.jsonl` gets, resumed runs included."""

import contextlib
import json

import pytest

from attnkit.errors import ConfigError
from attnkit.experiment.cli import main
from attnkit.option_class import options
from attnkit.training.logger.contract import Logger
from attnkit.training.logger.tensorboard import Tensorboard
from attnkit.training.logger.wandb import Wandb

SEEN = []


@options
class Listed(Logger):
    """Numbers by step and name, in memory."""

    @contextlib.contextmanager
    def open(self, folder, step):
        SEEN[:] = [row for row in SEEN if row[0] <= step]
        yield lambda step, values: SEEN.extend((step, name, value) for name, value in values.items())


@options
class Absent(Logger):
    """Needs what nobody has."""

    package = "no_such_package_at_all"
    extra = "absent"

    def open(self, folder, step):
        raise AssertionError


class Enough(Exception):
    pass


def recorded(folder):
    """The same rows from `metrics.jsonl`."""
    for text in (folder / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        group = line.pop("split")
        step = line.pop("step")
        yield from ((step, f"{group}/{name}", value) for name, value in line.items())


def halfway(progress):
    if progress.step >= 12 and progress.evaluation is None:
        raise Enough


def test_a_logger_gets_every_number_once_also_of_a_resumed_run(toy, tmp_path):
    SEEN.clear()
    with pytest.raises(Enough):
        toy.train(tmp_path, report=halfway, steps_per_dispatch=2, loggers=(Listed(),))
    assert 12 <= SEEN[-1][0] < 30
    toy.train(tmp_path, resume=True, loggers=(Listed(),))
    assert list(recorded(tmp_path)) == SEEN and SEEN[-1][0] == 30
    assert {name.split("/")[0] for _, name, _ in SEEN} == {"train", "valid"}


def test_a_missing_package_is_told_before_anything_is_written(toy, tmp_path):
    with pytest.raises(ConfigError, match=r'needs the package no_such.*; pip install "attnkit\[absent\]"'):
        toy.train(tmp_path / "run", loggers=(Absent(),))
    assert not (tmp_path / "run").exists()


def test_loggers_are_named_in_the_config(tmp_path, monkeypatch, capsys):
    import small

    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(small.CONFIG)
    assert (
        main(["validate", "small.toml", 'training.loggers=["tensorboard", {kind="wandb", project="x"}]']) == 0
    )
    assert main(["validate", "small.toml", 'training.loggers=["tensorbord"]']) == 2
    assert "did you mean 'tensorboard'" in capsys.readouterr().err


def test_tensorboard_reads_what_was_logged(toy, tmp_path):
    pytest.importorskip("tensorboardX")
    toy.train(tmp_path, loggers=(Tensorboard(),))
    (file,) = (tmp_path / "tensorboard").iterdir()
    found = list(scalars(file))
    expected = list(recorded(tmp_path))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], rel=1e-6)


def scalars(file):
    """(step, name, value) of an event file, whose records are length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, place = file.read_bytes(), 0
    while place < len(content):
        size = int.from_bytes(content[place : place + 8], "little")
        event = Event.FromString(content[place + 12 : place + 12 + size])
        place += 16 + size
        yield from ((event.step, value.tag, value.simple_value) for value in event.summary.value)


def test_weights_and_biases_writes_offline(toy, tmp_path):
    pytest.importorskip("wandb")
    toy.train(tmp_path, loggers=(Wandb(),))
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
