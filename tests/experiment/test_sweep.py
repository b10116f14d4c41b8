from pathlib import Path

import jax
import pytest
from experiment.small_sweep import AXES, line
from flax import nnx

from attnkit.errors import ConfigError
from attnkit.experiment import config, session, sweep, sweep_run
from attnkit.experiment.cli import main
from attnkit.experiment.diagnostics import InvalidConfig

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("configs/*/*.toml"), *ROOT.glob("experiments/*/*.toml")])
SHIPPED = [file for file in FILES if "\n[sweep]" in file.read_text()]


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
