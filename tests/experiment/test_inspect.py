"""`attnkit inspect`: heads, evidence, verdicts, and the page."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.experiment.cli import main
from attnkit.experiment.inspect import log_probability, row_of
from attnkit.inspection.maps import Alignment, Head
from attnkit.tasks.contract import Example

HEAD = Head("decoder.1.self", 0)
SURE = np.full(20, 0.5)


@pytest.mark.parametrize(
    ("effect", "mass", "verdict"),
    [
        (SURE, 0.9, "looks and matters"),
        (0 * SURE, 0.9, "looks, does not matter"),
        (SURE, 0.1, "matters, looks elsewhere"),
        (0 * SURE, 0.1, "idle"),
        (np.tile([5.0, -5.0], 10), 0.1, "idle"),  # the interval holds 0
        (SURE, None, "matters"),
        (SURE[:1], 0.9, "looks and matters"),  # one example has no interval
    ],
)
def test_a_verdict_needs_looks_and_effect(effect, mass, verdict):
    evidence = None if mass is None else Alignment(mass, mass, 0.1, 20)
    row = row_of(HEAD, effect, evidence, "", "distribution")
    assert row.verdict == verdict and str(row.head) == "L1H0"
    assert row.effect == pytest.approx(effect.mean()) and (row.interval is None) == (len(effect) == 1)


def test_the_answer_is_scored_where_it_is_written():
    """Labels of an example stand from the last token of its prompt on; shorter answers are padded."""
    examples = [Example("", "", None, (1, 5, 6), (2, 0)), Example("", "", None, (1, 5), (1,))]
    logits = np.log(np.full((2, 4, 3), 1 / 3))
    logits[0, 2], logits[0, 3], logits[1, 1] = np.log([[0.2, 0.2, 0.6], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    found = log_probability(examples, [one.labels for one in examples])(jnp.asarray(logits))
    np.testing.assert_allclose(found, [np.log(0.6 * 0.5) / 2, np.log(0.8)], rtol=1e-5)


def test_a_run_is_inspected_as_json_and_as_a_page(small_run, capsys, tmp_path):
    run, page = small_run / "runs" / "small-1", tmp_path / "heads.html"
    assert main(["inspect", str(run), "--count", "3", "--json", "--page", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {row["head"] for row in found["heads"]}
    assert names == {"encoder.L0H0", "encoder.L0H1", "L0H0", "L0H1", "cross.L0H0", "cross.L0H1"}
    cross = next(row for row in found["heads"] if row["head"] == "cross.L0H0")
    assert cross["map"] == "distribution" and 0 < cross["evidence"]["chance"] < 1
    assert found["edges"]["whole"] < 0 and found["untrained"]["rows"] == cross["evidence"]["rows"]
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and "cross.L0H0" in text and len(text) < 5_000_000


def test_a_text_is_inspected_against_held_out_examples(small_run, capsys):
    run = small_run / "runs" / "small-1"
    assert main(["inspect", str(run), "forty-two"]) == 0
    out = capsys.readouterr().out
    assert "1 example;" in out and "cross.L0H1" in out and "evidence" not in out


def test_planted_networks_and_runs_exclude_each_other(small_run, capsys):
    run = small_run / "runs" / "small-1"
    assert main(["inspect", str(run), "--planted"]) == 2
    assert "--planted: leave the run out" in capsys.readouterr().err
    assert main(["inspect"]) == 2
    assert "give a run folder, or --planted" in capsys.readouterr().err
    assert main(["inspect", str(run), "--count", "1"]) == 2
    assert "--count 1: expected at least 2" in capsys.readouterr().err
