"""`attnkit inspect`: heads, evidence, verdicts, and the page."""

import contextlib
import dataclasses
import io
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import inspect, inspect_page
from attnkit.experiment.cli import main
from attnkit.experiment.inspect import log_probability, row_of
from attnkit.inspection.circuits import Circuit
from attnkit.inspection.interventions import LOGITS, Edge
from attnkit.inspection.maps import Alignment, Head
from attnkit.tasks.contract import Example, Vocabulary

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


@pytest.fixture(scope="module")
def inspected(small_run, tmp_path_factory):
    """The command on the small run: its JSON and page, and the findings and attributions they show."""
    run, page, out = small_run / "runs" / "small-1", tmp_path_factory.mktemp("page") / "a.html", io.StringIO()
    kept = {}

    def keeping(name, function):
        def call(*arguments):
            result = function(*arguments)
            kept[name] = result if name == "findings" else tuple(result)
            return kept[name]

        return call

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(inspect, "inspect", keeping("findings", inspect.inspect))
        patch.setattr(inspect_page, "attributions", keeping("attributions", inspect_page.attributions))
        assert main(["inspect", str(run), "--count", "3", "--json", "--page", str(page)]) == 0
    return json.loads(out.getvalue()), page.read_text(encoding="utf-8"), kept


def test_a_run_is_inspected_as_json_and_as_a_page(inspected):
    found, page, _ = inspected
    names = {row["head"] for row in found["heads"]}
    assert names == {"encoder.L0H0", "encoder.L0H1", "L0H0", "L0H1", "cross.L0H0", "cross.L0H1"}
    cross = next(row for row in found["heads"] if row["head"] == "cross.L0H0")
    assert cross["map"] == "distribution" and 0 < cross["evidence"]["chance"] < 1
    assert found["edges"]["whole"] < 0 and found["untrained"]["rows"] == cross["evidence"]["rows"]
    assert "<script" not in page and "cross.L0H0" in page and len(page) < 5_000_000
    assert found["circuit"] is None and "with" not in found


def test_methods_of_attribution_stand_beside_weights(inspected):
    _, page, kept = inspected
    first, *_ = kept["attributions"]
    methods = dict(first.methods)
    assert list(methods)[-3:] == ["gradient times input", "integrated gradients", "rollout"]
    assert page.count("integrated gradients</p>") == len(kept["attributions"]) == 3
    # Rows of rollout, and of cross-attention, sum to 1 over the source.
    assert methods["rollout"].sum() == pytest.approx(1, abs=1e-5)


def test_two_runs_stand_side_by_side(inspected, small_run, tmp_path, capsys, monkeypatch):
    """The findings are those of `inspected`, of which the second run gets others of one head."""
    alone, _, kept = inspected
    run, page = small_run / "runs" / "small-1", tmp_path / "two.html"
    first = dataclasses.replace(kept["findings"], circuit=Circuit({Edge(HEAD, None, LOGITS): 0.5}, 0.02))
    row, *rows = first.rows
    second = dataclasses.replace(first, rows=(dataclasses.replace(row, effect=7.25), *rows[:-1]))
    asked = []

    def found(session, subjects, circuit):
        asked.append((subjects.examples, subjects.answers, circuit))
        return first if len(asked) % 2 else second

    monkeypatch.setattr(inspect, "inspect", found)
    monkeypatch.setattr(inspect_page, "attributions", lambda *arguments: kept["attributions"])
    command = ["inspect", str(run), "--with", str(run), "--count", "3", "--circuit"]
    assert main([*command, "--json", "--page", str(page)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert asked[0] == asked[1] and asked[0][2]  # the same examples and answers
    assert told["heads"] == alone["heads"] and told["with"]["run"] == str(run)
    assert told["circuit"]["edges"] == [{"edge": "L1H0 -> logits", "effect": 0.5}]
    assert told["with"]["heads"][0] == {**alone["heads"][0], "effect": 7.25}
    text = page.read_text(encoding="utf-8")
    assert text.count('<div class="side-by-side">') == 3 and text.count('class="circuit"') == 2
    assert "no such head" in text and "7.250" in text
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = next(line for line in lines if line.startswith(str(row.head)))
    assert f"{row.effect:.3f}" in shown and "7.250" in shown
    assert any("no such head" in line for line in lines)


def test_runs_of_other_tokens_are_not_compared():
    def session(name, *tokens):
        data = SimpleNamespace(vocabulary=Vocabulary((*Vocabulary.SPECIAL, *tokens)), source_vocabulary=None)
        return SimpleNamespace(dataset=data, name=name)

    inspect.refuse_other_tokens(session("one", "a", "b"), session("two", "a", "b"))
    with pytest.raises(ConfigError, match="--with: two and one have different vocabularies"):
        inspect.refuse_other_tokens(session("one", "a", "b"), session("two", "b", "a"))


@pytest.mark.slow
def test_a_circuit_of_a_run_is_searched(small_run, capsys):
    run = small_run / "runs" / "small-1"
    assert main(["inspect", str(run), "--count", "3", "--json", "--circuit"]) == 0
    circuit = json.loads(capsys.readouterr().out)["circuit"]
    assert circuit["threshold"] == 0.02 and all(edge["effect"] >= 0.02 for edge in circuit["edges"])


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
