"""`attnkit bench`: what it measures, and what it refuses."""

import json

import pytest

from attnkit.experiment.cli import main


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["alibi", "--rounds", "0"], "--rounds 0: expected at least 1"),
        (["documents"], "documents: reads run-time data"),
        (["alibi", "--error"], "alibi: --error wants approximations"),
    ],
)
def test_what_cannot_be_measured(capsys, words, said):
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err
