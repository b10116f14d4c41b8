"""`ak.load_run`: a run folder as objects."""

import json

import numpy as np
import pytest

import attnkit as ak
from attnkit import files
from attnkit.errors import ConfigError
from attnkit.experiment.cli import main


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
    assert losses.tolist() == [row["loss"] for row in rows if "split" not in row]
    assert run.metrics.curve("loss", "valid")[0].tolist() == [2, 4] and steps[-1] == 4
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
