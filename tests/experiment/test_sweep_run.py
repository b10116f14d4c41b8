import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from experiment.small_sweep import AXES, TINY

import attnkit as ak
from attnkit.experiment import runs, sweep, sweep_display, sweep_engines, sweep_run
from attnkit.experiment.cli import main
from attnkit.studies import tables
from attnkit.studies.comparison import compare

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a trained sweep, two of whose six cells cannot be finished, and its exit code."""
    place = tmp_path_factory.mktemp("trained")
    (place / "tiny.toml").write_text(TINY + AXES)
    with contextlib.chdir(place):
        code = main(["sweep", "tiny.toml", "--quiet"])
    return place, code


def states(place):
    with contextlib.chdir(place):
        return [row["state"] for row in sweep.listing(sweep.load(Path("tiny.toml")), Path("sweeps/tiny"))]


def test_a_cell_that_fails_does_not_stop_the_others(trained):
    place, code = trained
    assert code == 7 and states(place)[:4] == ["finished"] * 4
    assert states(place)[4:] != ["finished"] * 2


def test_a_cell_is_a_run_like_any_other(trained, monkeypatch):
    place, _ = trained
    monkeypatch.chdir(place)
    cell = sweep.load(Path("tiny.toml")).cells[0]
    run = ak.load_run(Path("sweeps/tiny") / cell.hash)
    assert run.step in (2, 4, 6) and run.result["config_hash"] == cell.hash
    assert run.result["parameters"] > 0 and run.result["population"] == 6
    assert [row["step"] for row in run.metrics.rows if row["split"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert run.result["lengths"] == {"length3": 3, "length5": 5}
    assert run.predict("ab") is not None


def test_finished_cells_are_skipped(trained, monkeypatch, capsys):
    place, _ = trained
    monkeypatch.chdir(place)
    cells = sweep.load(Path("tiny.toml")).cells
    before = {c.hash: (Path("sweeps/tiny") / c.hash / "result.json").stat().st_mtime_ns for c in cells[:4]}
    only = ",".join(before)
    assert main(["sweep", "tiny.toml", "--only", only, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"] == 4
    for name, at in before.items():
        assert (Path("sweeps/tiny") / name / "result.json").stat().st_mtime_ns == at


def test_compare_writes_tables_figures_and_a_page(trained, monkeypatch, capsys):
    place, _ = trained
    monkeypatch.chdir(place)
    assert main(["compare", "sweeps/tiny", "--threshold", "0.5"]) == 0
    out = capsys.readouterr().out
    assert (
        "Runs that are not finished and not here: 2." in out
        and "high - low" in out
        and "Mean over 2 seeds" in out
    )
    written = sorted(path.name for path in Path("sweeps/tiny/comparison").iterdir())
    assert written == [
        "comparison.html",
        "curves.png",
        "curves.svg",
        "length.png",
        "length.svg",
        "runs.csv",
        "table.md",
        "table.tex",
    ]
    assert "optimizer" not in Path("sweeps/tiny/comparison/table.tex").read_text()
    assert main(["compare", "sweeps/tiny", "--out", "sweeps/tiny/comparison"]) == 0
    assert main(["compare", "sweeps/tiny", "--out", "sweeps"]) == 2
    assert "--out sweeps: is not empty and holds no comparison" in capsys.readouterr().err
    assert main(["compare", "sweeps/tiny", "--metric", "valid.bleu"]) == 2
    assert "has no bleu; have: loss, perplexity, token_accuracy" in capsys.readouterr().err
    assert main(["compare", "sweeps/tiny", "--json"]) == 0
    assert {group["row"] for group in json.loads(capsys.readouterr().out)["groups"]} == {"low", "high"}


def test_runs_are_compared_by_what_differs_in_their_configs(trained, monkeypatch, capsys):
    place, _ = trained
    monkeypatch.chdir(place)
    folders = [f"sweeps/tiny/{cell.hash}" for cell in sweep.load(Path("tiny.toml")).cells[:4]]
    found = runs.read(list(map(Path, folders)))
    assert [dict(run.labels) for run in found.runs] == [
        {"optimizer.learning_rate": r} for r in ("0.001", "0.001", "0.01", "0.01")
    ]
    assert main(["compare", *folders]) == 0
    assert "0.01 - 0.001" in capsys.readouterr().out and not Path("comparison").exists()
    assert main(["compare", "nothing"]) == 2 and main(["compare", folders[0], "sweeps/tiny"]) == 2


def test_a_sweep_is_read_as_rows(trained, monkeypatch):
    place, _ = trained
    found = ak.load_sweep(place / "sweeps" / "tiny")
    rows = found.rows()
    assert len(rows) == 4 and len(found.unfinished) == 2 and "4 finished runs" in repr(found)
    assert {row["rate"] for row in rows} == {"low", "high"} and {row["seed"] for row in rows} == {0, 1}
    assert 0 <= rows[0]["valid.token_accuracy"] <= 1 and rows[0]["parameters"] > 0
    assert len([row for row in found.history() if row["split"] == "train"]) == 4 * 6
    pandas = pytest.importorskip("pandas")
    assert isinstance(found.frame(), pandas.DataFrame) and len(found.history_frame()) > 24


@pytest.mark.slow
def test_submitit_trains_the_jobs(tiny):
    pytest.importorskip("submitit")
    file = tiny(AXES.replace("1e38", "3e-3"))
    place = sweep_engines.Place(file, (), Path("sweeps/tiny"))
    todo, ended = sweep_run.jobs(sweep.load(file).cells, place.folder, alone=False), {}
    place.folder.mkdir(parents=True)
    sweep_engines.submitit(todo, place, lambda news: ended.update(news.ended), cluster="local")
    assert len(ended) == 6 and set(ended.values()) == {""}
    assert not sweep_run.jobs(sweep.load(file).cells, place.folder)


def table_of(place):
    """What compare says of a sweep, times left out."""
    found = runs.read_sweep(place)
    return [(run.name, run.labels, run.seed, run.result["splits"], run.history) for run in found.runs]


def assert_same_table(one, other):
    """A population that is resumed with other members rounds in another order."""
    one, other = table_of(one), table_of(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a == (pytest.approx(b, rel=1e-5) if isinstance(b, float) else b)


class Killed(BaseException):
    pass


def test_an_interrupted_sweep_ends_with_the_same_table(trained, tmp_path, monkeypatch):
    place, _ = trained
    (tmp_path / "tiny.toml").write_text(TINY + AXES)
    monkeypatch.chdir(tmp_path)
    told = sweep_display.Tally.add
    left = [3]

    def killed(tally, news):
        told(tally, news)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(sweep_display.Tally, "add", killed)
    with pytest.raises(Killed):
        main(["sweep", "tiny.toml", "--quiet"])
    assert "half done" in states(tmp_path)
    assert main(["sweep", "tiny.toml", "--quiet"]) == 7
    assert_same_table(tmp_path / "sweeps/tiny", place / "sweeps/tiny")


@pytest.mark.slow
def test_a_sweep_that_is_killed_at_random_ends_with_the_same_table(trained, tmp_path, monkeypatch):
    place, _ = trained
    (tmp_path / "tiny.toml").write_text(TINY + AXES)
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "attnkit", "sweep", "tiny.toml", "--quiet"]
    random = np.random.default_rng()
    for wanted in ("metrics.jsonl", "result.json"):
        process = subprocess.Popen(command, env=os.environ)
        while not list(Path("sweeps").rglob(wanted)) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(random.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(states(tmp_path))
    assert subprocess.run(command, check=False).returncode == 7
    # Members that go on without others are rounded differently: how many are computed at once has changed.
    found, expected = (runs.read_sweep(folder / "sweeps/tiny") for folder in (tmp_path, place))
    assert [(r.name, r.labels, r.seed) for r in found.runs] == [
        (r.name, r.labels, r.seed) for r in expected.runs
    ]
    for one, other in zip(found.runs, expected.runs, strict=True):
        for row, same in zip(one.history, other.history, strict=True):
            assert row == {name: pytest.approx(value, rel=1e-4) for name, value in same.items()}
    printed = [tables.main(compare(each.runs, each.plan)) for each in (found, expected)]
    assert printed[0] == printed[1]
