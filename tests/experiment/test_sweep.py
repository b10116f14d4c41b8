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
from flax import nnx

import attnkit as ak
from attnkit.errors import ConfigError
from attnkit.experiment import config, runs, session, sweep, sweep_display, sweep_engines, sweep_run
from attnkit.experiment.cli import main
from attnkit.experiment.diagnostics import InvalidConfig
from attnkit.studies import tables
from attnkit.studies.comparison import compare

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("configs/*/*.toml"), *ROOT.glob("experiments/*/*.toml")])
SHIPPED = [file for file in FILES if "\n[sweep]" in file.read_text()]
TINY = """\
about = "toy"

[task]
kind = "copy"
letters = 3
longest = 3
lengths = [3, 5]
held_out = 8

[model]
kind = "decoder"
depth = 1
heads = 2
model_dim = 8
mlp_ratio = 0

[training]
steps = 6
batch_size = 6
evaluate_every = 2
evaluation_batch_size = 8
steps_per_dispatch = 1

[decoding]
max_length = 6
scored = 8
"""
AXES = """
[sweep]
seeds = 2
rows = "rate"
metric = "valid.token_accuracy"

[sweep.groups.rate]
low = { "optimizer.learning_rate" = 1e-3 }
high = { optimizer.learning_rate = 1e-2 }
none = { optimizer.learning_rate = 1e38 }
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Writes `tiny.toml` with a sweep table into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(table):
        (tmp_path / "tiny.toml").write_text(TINY + table)
        return Path("tiny.toml")

    return write


def line(text):
    """The line of a text in the file."""
    whole = (TINY + AXES).splitlines()
    return next(n for n, row in enumerate(whole, 1) if row.startswith(text))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_sweeps_are_valid_and_say_what_they_are(file):
    assert len(sweep.load(file).cells) > 1
    header = file.read_text().split("\nabout")[0]
    assert all(f"# {word} " in header for word in ("command", "expect", "time", "source"))


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_models_of_shipped_sweeps_fit_their_tasks(file, monkeypatch):
    def shapes(model, sizes, seed, dataset, most):
        def logits(batch):
            return model.build(sizes, nnx.Rngs(0))(batch).logits

        return jax.eval_shape(logits, dataset.batch(0, 0, 2))

    monkeypatch.setattr(session, "fresh", shapes)
    for program in {sweep_run.program_of(cell): cell for cell in sweep.load(file).cells}.values():
        assert session.start(program.config).network.shape[0] == 2


def test_cells_are_all_combinations_and_are_named_by_their_configs(tiny):
    found = sweep.load(tiny(AXES + '[sweep.product]\n"model.depth" = [1, 2]\nmodel.heads = [1, 2]\n'))
    assert len(found.cells) == len({cell.hash for cell in found.cells}) == 3 * 2 * 2 * 2
    assert [axis.name for axis in found.axes] == ["rate", "model.depth", "model.heads", "seed"]
    cell = found.cells[-1]
    assert dict(cell.labels) == {"rate": "none", "model.depth": "2", "model.heads": "2"} and cell.seed == 1
    assert cell.config.table()["training"]["seed"] == 1 and cell.config.table()["model"]["depth"] == 2
    saved = Path("cell.toml")
    saved.write_text(cell.config.toml())
    assert config.load(saved).hash() == cell.hash
    # The axes, not the order in which they are written, make a cell.
    turned = sweep.load(
        tiny(
            '[sweep]\nseeds = [1]\n[sweep.product]\nmodel.heads = [2]\n"model.depth" = [2]\n'
            "optimizer.learning_rate = [1e38]\n"
        )
    )
    assert [cell.hash for cell in turned.cells] == [cell.hash]


def test_zip_and_list_change_together(tiny):
    found = sweep.load(
        tiny(
            "[sweep]\nlist = [{}, { model = { kind = 'decoder', depth = 2 } }]\n"
            "[sweep.zip]\nmodel.heads = [1, 2]\ntraining.batch_size = [6, 12]\n"
        )
    )
    sizes = [
        (c.config.table()["model"]["heads"], c.config.table()["training"]["batch_size"]) for c in found.cells
    ]
    assert sizes[0] == (1, 6) and sizes[2] == (2, 12) and len(sizes) == 4
    assert [c.config.table()["model"]["depth"] for c in found.cells] == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("seeds = 2", "seeds = 0", "seeds", "should be greater than or equal to 1"),
        ("seeds = 2", "seds = 2", "rows", None),
        ('rows = "rate"', 'rows = "rat"', "rows", "no such axis; have: rate"),
        ("1e-3", "-1.0", "low", "optimizer.learning_rate = -1.0: should be greater than 0"),
        ("optimizer.learning_rate = 1e-2", "optimiser.rate = 1e-2", "high", "no such section"),
        ('"optimizer.learning_rate" = 1e-3', '"training.seed" = 3', "low", "seeds are set by sweep.seeds"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tiny, old, new, at, message):
    file = tiny(AXES.replace(old, new))
    with pytest.raises(InvalidConfig) as caught:
        sweep.load(file)
    if message is not None:
        assert f"tiny.toml:{line(at)}: " in str(caught.value) and message in str(caught.value)
    else:
        assert "no such option; have: seeds, product, zip, list, groups" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[sweep]\n[sweep.product]\nmodel.depth = 2\n", "should be a list of at least one value"),
        ("[sweep]\n[sweep.product]\nmodel.depth = [1, 1]\n", "has 1 twice"),
        ("[sweep]\n[sweep.zip]\nmodel.depth = [1, 2]\nmodel.heads = [1]\n", "its lists need equal lengths"),
        ("[sweep]\n[sweep.groups.a]\none = {}\ntwo = {}\n", "have the same config"),
        (
            "[sweep]\nseeds = 1000\n[sweep.product]\nmodel.depth = [1,2,3,4,5,6,7,8,9,10,11]\n",
            "at most 10000",
        ),
    ],
)
def test_sweeps_that_make_no_sense_are_refused(tiny, table, message):
    with pytest.raises(ConfigError, match=message):
        sweep.load(tiny(table))


def test_overrides_hold_for_every_cell_but_not_for_an_axis(tiny):
    found = sweep.load(tiny(AXES), ["training.steps=3"])
    assert {cell.config.table()["training"]["steps"] for cell in found.cells} == {3}
    with pytest.raises(ConfigError, match=r"command line: optimizer.learning_rate: is an axis of the sweep"):
        sweep.load(Path("tiny.toml"), ["optimizer.learning_rate=3"])


def test_overrides_change_the_table_of_a_sweep(tiny):
    found = sweep.load(tiny(AXES), ["sweep.seeds=[7]"])
    assert {cell.seed for cell in found.cells} == {7} and len(found.cells) == 3
    for text, message in {
        "sweep.seeds=x": 'command line: sweep.seeds = "x": should be',
        "sweep.sedes=2": "command line: sweep.sedes = 2: no such option",
        "sweep=3": "command line: sweep: is a table",
    }.items():
        with pytest.raises(ConfigError, match=message):
            sweep.load(Path("tiny.toml"), [text])


def test_quick_is_one_seed_of_the_cells_that_decide(tiny, capsys):
    found = sweep.quick(sweep.load(tiny(AXES)))
    assert [(c.labels["rate"], c.seed) for c in found.cells] == [("low", 0), ("high", 0), ("none", 0)]
    table = AXES + "[sweep.product]\nmodel.heads = [1, 2]\n[sweep.quick]\nrate = ['low']\nmodel.heads = [2]\n"
    whole = sweep.load(tiny(table + "seed = [1]\n"))
    decisive = sweep.quick(whole)
    assert [(dict(c.labels), c.seed) for c in decisive.cells] == [({"rate": "low", "model.heads": "2"}, 1)]
    assert {c.hash for c in decisive.cells} < {c.hash for c in whole.cells}
    assert (
        main(["sweep", "tiny.toml", "--quick", "--dry-run"]) == 0
        and "1 cells: 1 to do" in capsys.readouterr().out
    )
    for wrong, message in {
        "rates = ['low']": "rates: no such axis; have: rate, model.heads, seed",
        "seed = [2]": 'sweep.quick.seed = "2": have: 0, 1',
        "seed = 1": "should be a list of at least one choice",
    }.items():
        with pytest.raises(ConfigError, match=message):
            sweep.load(tiny(table + wrong))


def test_a_sweep_is_validated_and_not_trained_as_one_run(tiny, capsys):
    file = str(tiny(AXES))
    assert main(["validate", file]) == 0 and "a sweep of 6 cells" in capsys.readouterr().out
    assert main(["train", file]) == 2
    assert f"tiny.toml:{line('[sweep]')}: [sweep] makes many runs" in capsys.readouterr().err
    assert main(["sweep", file, "--dry-run"]) == 0
    assert "6 cells: 6 to do" in capsys.readouterr().out and not Path("sweeps").exists()
    assert main(["sweep", file, "--engine", "print"]) == 0
    (command,) = capsys.readouterr().out.splitlines()
    words = command.split()
    assert words[:3] == ["attnkit", "sweep", "tiny.toml"] and len(words[-1].split(",")) == 6
    assert main(["sweep", file, "--engine", "print", "--one-by-one"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert main(["sweep", file, "--only", "abc"]) == 2 and "no cell of tiny.toml" in capsys.readouterr().err


def test_what_is_switched_off_is_another_program(tiny):
    file = tiny(
        '[sweep]\nseeds = 2\n[sweep.product]\n"model.dropout" = [0.0, 0.1, 0.2]\nmodel.depth = [1, 2]\n'
    )
    found = sweep_run.jobs(sweep.load(file).cells, Path("none"))
    assert sorted(len(job) for job in found) == [2, 2, 4, 4]


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
