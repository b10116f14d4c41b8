"""`ak.load_run`: a run folder as objects."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import attnkit as ak
from attnkit import files
from attnkit.api.notebook import table
from attnkit.api.sweep import Sweep
from attnkit.errors import ConfigError
from attnkit.experiment.cli import main
from attnkit.studies.tables import Table


@pytest.fixture(scope="module")
def folder(small_run):
    return small_run / "runs/small-1"


@pytest.fixture(scope="module")
def run(folder):
    return ak.load_run(folder)


def test_objects_of_a_run(run, folder):
    assert run.config["model"]["model_dim"] == 12 and run.config["model"]["kind"] == "encoder_decoder"
    assert run.result == files.unsealed((folder / "result.json").read_bytes())
    assert repr(run).endswith("parameters)") and len(repr(run)) < 200
    assert run.tokenizer.decode([*map(run.tokenizer.tokens.index, "drei"), 2, 5]) == "drei"
    assert len(run.tokenizer.encode("forty-two")) == 2
    assert run.params["embedding"] and repr(run.tokenizer) == f"Tokenizer({len(run.tokenizer.tokens)} tokens)"


def test_metrics_are_curves(run, folder):
    steps, losses = run.metrics.curve("loss")
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    assert losses.tolist() == [row["loss"] for row in rows if row["split"] == "train"]
    assert run.metrics.curve("loss", "valid")[0].tolist() == [2, 4] and steps[-1] == 4
    timed = run.metrics.rows
    assert [row["split"] for row in timed] == ["train", "train", "valid", "train", "train", "valid"]
    times = [row["time"] for row in timed]
    assert times == sorted(times) and 0 <= time.time() - times[0] < 86400
    with pytest.raises(KeyError, match="not recorded; have loss"):
        run.metrics.curve("los")


def test_predictions_are_those_of_the_command_line(run, folder, capsys):
    assert main(["predict", str(folder), "seven", "--json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert run.predict("seven") == printed["output"]
    assert run.predict(["seven", "forty-two"], max_length=3) == [
        run.predict(text, max_length=3) for text in ("seven", "forty-two")
    ]
    assert len(run.predict("seven", max_length=3)) <= 3


def test_attention_names_its_tokens(run):
    found = run.attention("forty-two")
    cross = found["decoder.0.cross"]
    assert cross.keys == ("forty", "two") and "".join(cross.queries[: len(run.predict("forty-two"))]) == (
        run.predict("forty-two")
    )
    for one in found.values():
        assert one.weights.shape[1:] == (len(one.queries), len(one.keys))
        np.testing.assert_allclose(one.weights.sum(-1), 1, atol=1e-5)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not a run folder"):
        ak.load_run(tmp_path)


def test_notebooks_show_runs_maps_and_metrics(run, folder):
    shown = run._repr_html_()
    assert "One seed (0)" in shown and "<table" in shown and "<script" not in shown and len(shown) < 20_000
    attention = run.attention("forty-two")["decoder.0.cross"]
    assert attention.kind == "distribution" and attention.name == "decoder.0.cross"
    for thing in (attention, run.metrics, run.report()):
        html = thing._repr_html_()
        assert html.startswith('<iframe srcdoc="&lt;!DOCTYPE') and html.count("<iframe") == 1
        assert '" sandbox style="' in html
        assert "<script" not in html and len(repr(thing)) < 120
    assert run.report().content == (folder / "report.html").read_text()


def test_reprs_are_short(run):
    for thing in (run, run.session, run.session.config, run.session.dataset, run.tokenizer):
        assert len(repr(thing)) < 120 and " object at " not in repr(thing)
    assert repr(run.session.dataset) == "DatasetInfo(NumberWords, splits valid, test, longer4)"


def test_masks_are_drawn():
    drawn = ak.draw(ak.Attention(mask=ak.Causal()), 3)
    assert repr(drawn) == " x . .\n x x .\n x x x" and drawn._repr_html_().count("<rect") == 1 + 6
    segments = ak.Data.segments(np.array([0, 0, 1]))
    assert ak.draw(ak.SameDocument(), 3, data=segments).allowed.sum() == 5
    with pytest.raises(
        ValueError, match=r"SameDocument reads query.segment, key.segment, which is not given"
    ):
        ak.draw(ak.SameDocument())
    with pytest.raises(ValueError, match="length = 0: expected 1 to 128"):
        ak.draw(ak.Causal(), 0)
    formatters = {}
    html = SimpleNamespace(for_type=formatters.__setitem__)
    ak.load_ipython_extension(
        SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": html}))
    )
    (formatter,) = formatters.values()
    assert formatter(ak.Causal()).startswith("<svg") and formatter(ak.SameDocument()) is None


def test_tables_are_html():
    sweep = Sweep(Path("s"), (), ())
    assert sweep._repr_html_().startswith("<table>")
    assert table(["a"], [["<b>"]]) == (
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>"
    )
    assert Table("t", ("a", "b"), (("x", "1"),))._repr_html_().startswith("<section><h2>t</h2>")
