import json
import shutil

import pytest

import attnkit as ak
from attnkit import files
from attnkit.errors import CheckpointError
from attnkit.experiment.cli import main
from attnkit.training import nonfinite
from attnkit.training.manifest import FORMAT, LAYOUT

FAILED = {"step": 5, "what": "batch", "path": "batch/weights", "seed": 0, "batch": 4}


def test_every_command_refuses_a_run_of_an_older_format_in_one_line(small_run, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(small_run / "runs/small-1", run)
    for path in run.rglob("manifest.json"):
        body = {**json.loads(path.read_text()), "format": FORMAT - 1}
        path.write_bytes(files.sealed(body, **LAYOUT))
    files.write(run / nonfinite.DUMP, files.sealed(FAILED))
    monkeypatch.chdir(tmp_path)
    shutil.copy(small_run / "small.toml", tmp_path)
    for words in (
        ["predict", "run", "one"],
        ["evaluate", "run"],
        ["inspect", "run", "--count", "2"],
        ["export", "run", "--out", "exported"],
        ["report", "run"],
        ["replay", "run"],
        ["train", "small.toml", "--out", "run", "--resume", "--quiet"],
    ):
        code, said = main(words), capsys.readouterr().err.strip().splitlines()
        assert code == 5 and "manifest.json: has format 1, this attnkit reads format 2; train" in said[-1], (
            words,
            said,
        )
        assert not [line for line in said if "Traceback" in line]
    with pytest.raises(CheckpointError, match="has format 1"):
        ak.load_run(run).predict("one")
