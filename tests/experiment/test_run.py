import io
import json
import shutil
import sys
from pathlib import Path

import jax
import pytest
from flax import nnx

from attnkit import files
from attnkit.experiment import attention, config, folder, provenance, session
from attnkit.experiment.cli import main
from attnkit.training.load import TIMES

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("configs/*/*.toml"), *ROOT.glob("experiments/*/*.toml")])
# Sweeps are tested in test_sweep.py.
CONFIGS = [file for file in FILES if "\n[sweep]" not in file.read_text()]
TWO_STEPS = [
    "training.steps=2",
    "training.evaluate_every=0",
    "training.evaluation_batches=1",
    "decoding.max_length=3",
]
OWN_DATA = ("labeled_text", "hub_dataset", "dialogue_file", "captioned_images", "parallel_text")
WHOLE = [file for file in CONFIGS if file.stem not in OWN_DATA]
TRIED = ("number_words", "set_maximum")
FEW = ["task.valid_size=11", "task.test_size=13", "task.longer_size=7", "training.batch_size=5"]


@pytest.fixture
def run(small_run, monkeypatch):
    monkeypatch.chdir(small_run)
    return Path("runs/small-1")


def test_a_run_folder_has_everything(run):
    assert {path.name for path in run.iterdir()} == {
        folder.CONFIG,
        folder.ENVIRONMENT,
        folder.METRICS,
        TIMES,
        folder.RESULT,
        folder.REPORT,
        folder.EXAMPLES,
        provenance.DATASET,
        provenance.CODE,
        "checkpoints",
    }
    result = json.loads((run / folder.RESULT).read_text())
    assert set(result["splits"]) == {"valid", "test", "longer4"}
    assert result["scored_examples"] == {"valid": 11, "test": 13, "longer4": 7}
    for metrics in result["splits"].values():
        assert metrics["loss"] > 0 and 0 <= metrics["exact_match"] <= 1
    assert result["steps"] == 4 and result["parameters"] > 1000 and result["seconds"] > 0
    assert 0 <= result["alignment"]["accuracy"] <= 1 and result["alignment"]["split"] == "test"
    environment = json.loads((run / folder.ENVIRONMENT).read_text())
    assert {"python", "jax", "flax", "platform", "cpus"} <= set(environment)
    steps = [json.loads(line) for line in (run / folder.METRICS).read_text().splitlines()]
    assert [line["step"] for line in steps if line["split"] == "train"] == [1, 2, 3, 4]


def test_the_saved_config_means_the_same(run):
    assert config.load(run / folder.CONFIG).hash() == config.load(Path("small.toml")).hash()


def test_the_report_shows_the_run_and_runs_nothing(run):
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        tags, text, attributes = [], [], []

        def handle_starttag(self, tag, attributes):
            self.tags.append(tag)
            self.attributes += [name for name, _ in attributes]

        def handle_data(self, data):
            self.text.append(data)

    page = (run / folder.REPORT).read_text()
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags and not any(name.startswith("on") for name in reader.attributes)
    assert "a </script><img src=x onerror=alert(1)> test" in "".join(reader.text)
    assert "cross-attention, L0" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_evaluate_measures_the_same_again(run, capsys):
    written = (run / folder.RESULT).read_bytes()
    before = json.loads(written)
    assert main(["evaluate", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (run / folder.RESULT).read_bytes() == written
    recorded = files.unsealed((run / folder.EVALUATIONS).read_bytes().splitlines()[-1], indent=None)
    assert recorded.items() <= told.items() and recorded["changed"] == recorded["overrides"] == []
    assert recorded["date"] in (run / folder.REPORT).read_text()
    for split, metrics in before["splits"].items():
        assert told["splits"][split] == pytest.approx(metrics, rel=1e-5)
    assert told["samples"] == before["samples"] and told["alignment"] == pytest.approx(before["alignment"])
    assert told["steps"] == 4 and told["run"] == str(run) and told["name"] == "small"


def test_maps_that_cannot_be_made_cost_no_results(run, monkeypatch, capsys, tmp_path):
    def broken(*given):
        raise RuntimeError("a gate on the values\nis not as wide as they are")

    monkeypatch.setattr(attention, "all_maps", broken)
    copy, before = shutil.copytree(run, tmp_path / "copy"), json.loads((run / folder.RESULT).read_text())
    for command in ("evaluate", "report"):
        assert main([command, str(copy)]) == 0
        result = json.loads((copy / folder.EVALUATIONS).read_text().splitlines()[-1])
        page = (copy / folder.REPORT).read_text()
        assert result["splits"]["test"] == pytest.approx(before["splits"]["test"], rel=1e-5)
        where = f"({__file__}, line {broken.__code__.co_firstlineno + 1})"
        message = f"no attention maps: RuntimeError: a gate on the values {where}"
        assert result["alignment"] == {"error": message} and message in page
        assert f"warning: {message}" in capsys.readouterr().err


def test_report_is_written_again(run, capsys):
    before = (run / folder.REPORT).read_text()
    (run / folder.REPORT).unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / folder.REPORT)
    assert (run / folder.REPORT).read_text() == before


def test_predict_from_arguments_and_from_standard_input(run, capsys, monkeypatch):
    assert main(["predict", str(run), "forty-two", "seven", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["text"] for one in told] == ["forty-two", "seven"] and all("output" in one for one in told)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"forty-two\nseven\n")))
    assert main(["predict", str(run)]) == 0
    assert capsys.readouterr().out.splitlines() == [one["output"] for one in told]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["predict", str(run)]) == 0 and capsys.readouterr().out == ""


def test_predict_with_sampling_and_beams(run, capsys):
    outputs = []
    for seed in ("3", "3", "5"):
        words = ["--temperature", "2.0", "--top-k", "7", "--seed", seed]
        assert main(["predict", str(run), "eleven hundred", *words]) in (0, 3)
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert main(["predict", str(run), "--beams", "3", "eleven"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["xylophone"], 3, "text 1: "),
        (["one", "b\u00e4r"], 3, "text 2: "),
        (["one", "--temperature", "0"], 2, "temperature = 0.0"),
        (["one", "--top-p", "1.5"], 2, "top_p = 1.5"),
        (["one", "--beams", "2", "--top-k", "3"], 2, "--top-k is for sampling"),
        (["one", "--seed", "-1"], 2, "--seed -1"),
    ],
)
def test_what_predict_refuses(run, capsys, words, code, message):
    assert main(["predict", str(run), *words]) == code
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == "" and "Traceback" not in captured.err


def test_resume_goes_on_and_a_changed_model_is_refused(run, capsys):
    assert main(["train", "small.toml", "--out", str(run)]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main(["train", "small.toml", "--resume", "model.heads=6"]) == 2
    assert "model.heads = 6: the run in runs/small-1 has 2" in capsys.readouterr().err
    assert main(["train", "small.toml", "--resume"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("nothing to train: step 4 is done")
    sizes, model, _ = told[-4:-1]
    assert sizes.startswith("data: ") and "11 valid, 13 test" in sizes and "source 1 to" in sizes
    assert model.startswith("model: ") and " parameters, " in model and model.endswith("1 cpu device")


def test_a_damaged_run_is_exit_5(run, tmp_path, monkeypatch, capsys):
    shutil.copytree(run, tmp_path / "copy")
    for file in (tmp_path / "copy/checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    assert main(["evaluate", str(tmp_path / "copy")]) == 5
    assert "Traceback" not in capsys.readouterr().err


def test_what_a_run_folder_names_does_not_run_unless_it_is_trusted(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    place = tmp_path / "copy" / folder.CONFIG
    own = place.read_text().replace('kind = "encoder_decoder"', f'kind = "{tmp_path}/own.py:Net"')
    place.write_text(own)
    for command in (["evaluate"], ["report"], ["predict", "--seed=1"]):
        assert main([*command, str(tmp_path / "copy"), *(["a"] if len(command) > 1 else [])]) == 2
        assert "say --allow-import if you trust it" in capsys.readouterr().err
        assert not (tmp_path / "ran").exists()
    assert main(["evaluate", str(tmp_path / "copy"), "--allow-import"]) == 2
    assert "config.toml: SHA-256 " in capsys.readouterr().err and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.decoder.mask=everything", "causal"),
        ("model.heads=4", "must be even; change the head dim"),
        ("model=classifier", "gives 1 answers for an example, but the task asks for"),
        ("model=decoder", "does not read the source of this task"),
        ("model={kind='two_tower',source_absolute='none'}", "compares groups of pairs"),
        ("model.decoder={kind='aft_full',causal=true,length=11}", "length = 11 is too short for"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_there_is_a_folder(run, capsys, word, message):
    before = sorted(Path("runs").iterdir())
    assert main(["train", "small.toml", word]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == told.count("error: ")
    assert sorted(Path("runs").iterdir()) == before


def test_bad_data_is_exit_3(run, tmp_path, capsys):
    (tmp_path / "bad.txt").write_bytes(b"abc\xff")
    words = ["task.kind=text", f"task.path={tmp_path / 'bad.txt'}", "model.kind=decoder"]
    assert main(["train", "small.toml", *words]) == 3
    assert "bad.txt:1" in capsys.readouterr().err


@pytest.mark.parametrize("file", WHOLE, ids=lambda file: file.stem)
def test_the_model_of_every_shipped_config_fits_its_task(file, monkeypatch):
    def shapes(model, sizes, seed, dataset, most):
        def logits(batch):
            return model.build(sizes, nnx.Rngs(0))(batch).logits

        return jax.eval_shape(logits, dataset.batch(0, 0, 2))

    monkeypatch.setattr(session, "fresh", shapes)
    started = session.start(config.load(file))
    assert started.dataset.floors and started.network.shape[0] == 2


@pytest.mark.one_python
@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=[] if file.stem in TRIED else pytest.mark.slow) for file in WHOLE],
    ids=lambda file: file.stem,
)
def test_shipped_configs_train_for_two_steps(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = FEW if "number_words" in file.name else ["training.batch_size=2"]
    assert main(["train", str(file), *TWO_STEPS, *few, "--quiet", "--out", "two"]) == 0
    out = capsys.readouterr().out
    assert "run folder: two" in out and "(floor" in out
    again = config.load(Path("two") / folder.CONFIG)
    assert again.hash() == config.load(file, [*TWO_STEPS, *few]).hash()
    assert again.hash() == json.loads(Path("two/result.json").read_text())["config_hash"]
