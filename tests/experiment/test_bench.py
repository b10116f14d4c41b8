"""`attnkit bench`: what it measures, and what it refuses."""

import json
import textwrap

import jax
import pytest
from matplotlib.figure import Figure

from attnkit.experiment.bench import compiled, operations
from attnkit.experiment.bench_cases import Setting, cases, variant_of
from attnkit.experiment.cli import main
from attnkit.experiment.commands.bench import logarithmic
from attnkit.recurrence.variant.mamba2 import Mamba2
from attnkit.scored.contract import Parts
from attnkit.scored.selection.lightning_indexer import LightningIndexer

pytestmark = pytest.mark.one_python


def test_costs_of_a_variant_beside_both_dense_computations(tmp_path, capsys):
    words = ["bench", "alibi", "--lengths", "64", "1024", "--heads", "1", "--dim", "8", "--rounds", "1"]
    assert main([*words, "--json", "--png", str(tmp_path / "cost.png")]) == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    at = {(cost["name"], cost["form"], cost["length"]): cost for cost in costs}
    assert set(at) == {
        *(("alibi", form, 64) for form in ("dense", "reference")),
        *(("alibi", form, 1024) for form in ("blockwise", "reference")),
        *(("jax.nn", "full", length) for length in (64, 1024)),
    }
    by_blocks, dense = at["alibi", "blockwise", 1024], at["alibi", "reference", 1024]
    assert by_blocks["mebibytes"] < dense["mebibytes"] / 2
    products = 4 * 1024**2 * 8 / 1e9
    assert products < by_blocks["gigaflops"] < 3 * products
    assert all(cost["least"] > 0 for cost in costs)
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_every_form_of_recurrent_attention_and_approximations_beside_softmax(capsys):
    words = [
        "gla",
        "cosformer",
        "linformer",
        "--lengths",
        "32",
        "256",
        "--heads",
        "1",
        "--dim",
        "4",
        "--rounds",
        "1",
    ]
    assert main(["bench", *words, "--json"]) == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    at = {(cost["name"], cost["form"], cost["length"]): cost["gigaflops"] for cost in costs}
    forms = {(name, form) for name, form, _ in at}
    assert forms >= {
        ("gla", "scan"),
        ("gla", "chunked"),
        ("gla", "matrix"),
        ("cosformer", "chunked"),
        ("linformer", "mix"),
    }
    assert forms >= {("attention", "reference"), ("jax.nn", "full")}
    assert at["gla", "scan", 256] == pytest.approx(8 * at["gla", "scan", 32])
    assert at["gla", "matrix", 256] > 20 * at["gla", "matrix", 32]


@pytest.mark.parametrize(
    ("thing", "shared"),
    [
        (LightningIndexer(heads=2, dim=5, count=7), {"query": 10, "weight": 2, "key": 5}),
        (Mamba2(rows=5), {"q": 5, "k": 5}),
    ],
    ids=["scored", "recurrent"],
)
def test_inputs_that_all_heads_share_are_drawn_once(thing, shared):
    for case in cases(variant_of("it", thing), 16, Setting(heads=3, dim=4)):
        given = case.arrays["inputs"]
        inputs = given.selection[0] if isinstance(given, Parts) else given
        for name, width in shared.items():
            assert inputs[name].size == 16 * width
        assert jax.eval_shape(case.output, case.arrays).shape == (3, 16, 4)


def test_operations_of_a_form_by_blocks_count_what_the_selection_looks_at():
    setting = Setting(heads=1, dim=4)
    lightning = variant_of("lightning_indexer", LightningIndexer(heads=8, dim=16, count=7))
    by_blocks, dense = (
        operations(case, compiled(case, setting), setting) for case in cases(lightning, 1024, setting)
    )
    assert by_blocks == pytest.approx(dense, rel=0.1)


def test_whole_training_steps_of_a_config(workplace, capsys):
    text = """
        [task]
        kind = "copy"
        [model]
        kind = "decoder"
        depth = 1
        model_dim = 4
        heads = 1
        mixer = { kind = "attention", mask = "causal" }
        [training]
        batch_size = 2
    """
    (workplace / "copy.toml").write_text(textwrap.dedent(text))
    assert main(["bench", "copy.toml", "training.steps_per_dispatch=2", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 2 and found["name"] == "copy" and found["parameters"] > 100
    assert found["steps_per_second"] == pytest.approx(1000 / found["milliseconds"])
    assert min(found[name] for name in ("compile_seconds", "tokens_per_second", "mebibytes")) > 0
    assert main(["bench", "copy.toml", "--error"]) == 2
    assert "--error: is for variants; leave it out to measure copy.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["alibi", "--rounds", "0"], "--rounds 0: expected at least 1"),
        (["same_document"], "same_document: reads run-time data"),
        (["alibi", "--error"], "alibi: --error wants approximations"),
        (["convolution"], "convolution: bench measures heads of attention and their parts; it is a layer"),
    ],
)
def test_what_cannot_be_measured(capsys, words, said):
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err


def test_ticks_are_plain_numbers():
    figure = Figure()
    place = figure.subplots()
    place.plot([100, 1600], [610.0, 2300.0])
    logarithmic(place, [100, 1600])
    figure.canvas.draw()
    assert [one.get_text() for one in place.get_xticklabels()] == ["100", "1,600"]
    assert {"1,000", "2,000"} <= {one.get_text() for one in place.get_yticklabels()}
