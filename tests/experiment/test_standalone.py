"""A run folder alone answers as on the day it was trained, or says exactly why not."""

import contextlib
import json
import shutil
from pathlib import Path

import jax
import pytest
from experiment.own_files import COLORS, KINDS, TRAINING, data

import attnkit as ak
from attnkit import files
from attnkit.errors import ConfigError
from attnkit.experiment import folder, provenance
from attnkit.experiment.cli import main

ON = ("--resume", "training.steps=4", "optimizer.decay_steps=3")
SEALED = (folder.CONFIG, folder.ENVIRONMENT, provenance.DATASET, provenance.CODE)
ASKED = {"pairs": "red two", "classes": "fine day", "own": "the day"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data, and below `runs` a finished run of each kind; its answers by kind."""
    place = tmp_path_factory.mktemp("made")
    data(place)
    with contextlib.chdir(place):
        for kind, (task, model) in KINDS.items():
            Path(f"{kind}.toml").write_text(task + model + TRAINING)
            assert main(["train", f"{kind}.toml", "--quiet"]) == 0
        runs = {kind: ak.load_run(f"runs/{kind}-1", allow_import=True) for kind in ASKED}
        return place, {kind: said(run, kind) for kind, run in runs.items()}


def said(run, kind):
    """Answers that any change of words or parameters would change."""
    return [run.predict(ASKED[kind], method="sample", seed=seed) for seed in range(5)]


@pytest.fixture
def copy(made, tmp_path, monkeypatch):
    """Function that copies a run, and what it was made from if asked for, into the working directory."""
    monkeypatch.chdir(tmp_path)

    def copy(kind, everything=False):
        if everything:
            shutil.copytree(made[0], tmp_path / "all")
            monkeypatch.chdir(tmp_path / "all")
            return Path(f"runs/{kind}-1")
        return shutil.copytree(made[0] / f"runs/{kind}-1", tmp_path / kind)

    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_alone_answers_as_on_the_day(kind, made, copy, capsys):
    run = copy(kind)
    with contextlib.ExitStack() as stack:
        away = made[0].with_name("away")
        made[0].rename(away)
        stack.callback(away.rename, made[0])
        loaded = ak.load_run(run, allow_import=True)
        assert kind not in ASKED or said(loaded, kind) == made[1][kind]
        page = (run / folder.REPORT).read_text()
        (run / folder.REPORT).unlink()
        assert main(["report", str(run), "--allow-import"]) == 0
        assert (run / folder.REPORT).read_text() == page
        assert main(["evaluate", str(run), "--allow-import"]) == 3
    assert not list(run.rglob("*.pyc")) and not list(run.rglob("*.pkl"))
    assert "cannot be read" in (told := capsys.readouterr().err) or "no such file" in told


def test_what_a_run_says_of_its_data(made):
    run = made[0] / "runs/pairs-1"
    told = json.loads((run / provenance.DATASET).read_text())
    assert "rot" in told["vocabulary"]["tokens"] and told["facts"]["examples"]["train"] > 20
    assert told["facts"]["files"][0]["sha256"] and len(told["fingerprint"]) == 64
    environment = json.loads((run / folder.ENVIRONMENT).read_text())
    assert environment["x64"] is False and environment["devices"] and environment["jax"] == jax.__version__
    code = json.loads((made[0] / "runs/own-1" / provenance.CODE).read_text())
    assert (
        set(code["own"]) == {"code/1/mine.py", "code/1/helper.py"}
        and "attnkit.models.decoder" in code["modules"]
    )


def test_data_that_grew_is_refused_with_both_fingerprints(copy, capsys):
    run = copy("pairs", everything=True)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    answer = said(ak.load_run(run), "pairs")
    with open("pairs.tsv", "a") as file:
        file.writelines(
            f"{a} {b}\t{COLORS[a]} {COLORS[b]}\n" for a in ("ten", "six") for b in COLORS for _ in range(9)
        )
    assert said(ak.load_run(run), "pairs") == answer
    trained = json.loads((run / folder.RESULT).read_text())["fingerprint"]
    for words in (["evaluate", str(run), "task.path=pairs.tsv"], ["train", "pairs.toml", *ON]):
        assert main(words) == 3
        told = capsys.readouterr().err
        assert trained in told and "--allow-changed-data" in told and "it had 36" in told
        assert len([word for word in told.replace(",", " ").split() if len(word.strip(";")) == 64]) == 2
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    # The same words by other numbers, so that nothing but the training part is another.
    loss = json.loads((run / folder.RESULT).read_text())["splits"]["valid"]["loss"]
    assert main(["evaluate", str(run), "task.path=pairs.tsv", "--allow-changed-data", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"]["valid"]["loss"] == pytest.approx(loss, rel=0.1) and trained in found["changed"][0]


def test_changed_data_with_the_same_words_is_measured_and_said(copy, capsys):
    run = copy("own", everything=True)
    written = (run / folder.RESULT).read_bytes()
    Path("text.txt").write_text("the day was a fine day\n" * 19 + "the was day a fine day\n")
    words = ["evaluate", str(run), "task.path=text.txt", "--allow-import"]
    assert main(words) == 3
    assert main([*words, "--allow-changed-data"]) == 0
    assert "changed since training: the data has fingerprint" in capsys.readouterr().out
    (line,) = map(json.loads, (run / folder.EVALUATIONS).read_text().splitlines())
    assert len(line["changed"]) == 1 and line["fingerprint"] in line["changed"][0]
    assert line["fingerprint"] in (run / folder.REPORT).read_text()
    assert (run / folder.RESULT).read_bytes() == written


def test_data_that_moved_is_found_with_an_override(copy, capsys):
    run = copy("pairs", everything=True)
    Path("pairs.tsv").rename("moved.tsv")
    assert main(["evaluate", str(run), "task.path=pairs.tsv"]) == 3
    assert main(["evaluate", str(run), "task.path=moved.tsv", "decoding.max_length=4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["overrides"] == ["task.path=moved.tsv", "decoding.max_length=4"] and found["seed"] == 0
    for words in ("training.seed=7", "model.heads=3", "optimizer.b1=0.5"):
        assert main(["evaluate", str(run), words]) == 2


@pytest.mark.parametrize("file", ["mine.py", "helper.py"])
def test_own_code_that_changed_is_refused_with_both_digests(file, copy, capsys):
    run = copy("own", everything=True)
    record = provenance.read(run)
    # As if the run had been made in this folder.
    told = json.loads((run / provenance.CODE).read_text())
    for entry in told["own"].values():
        entry["file"] = str(Path.cwd() / Path(entry["file"]).name)
    folder.write_json(run / provenance.CODE, told)
    reseal(run, {})
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    path = Path.cwd() / file
    path.write_text(path.read_text().replace("-math", "math").replace("sign() *", "-sign() *"))
    old, new = record.code.own[f"code/1/{file}"].sha256, provenance.digest(path.read_bytes())
    resume = ["train", "own.toml", *ON]
    for words in (
        ["evaluate", str(run), "--allow-import"],
        ["predict", str(run), "--allow-import", "the"],
        ["report", str(run), "--allow-import"],
        resume,
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert (
            f"{path}: SHA-256 {new}, the run was trained with {old}" in said
            and "--allow-changed-code" in said
        )
    with pytest.raises(ConfigError, match=new):
        ak.load_run(run, allow_import=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["evaluate", str(run), "--allow-import", "--allow-changed-code", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["changed"]) == 1 and new in found["changed"][0]
    trained = json.loads((run / folder.RESULT).read_text())
    assert found["splits"]["valid"]["loss"] != pytest.approx(trained["splits"]["valid"]["loss"], rel=1e-9)
    assert main([*resume, "--allow-changed-code", "--quiet"]) == 0
    assert new in json.loads((run / folder.RESULT).read_text())["changed"][0]


def reseal(run, changes):
    """Write files of a run as one who means harm would."""
    for name, text in changes.items():
        (run / name).write_text(text)
    told = json.loads((run / folder.ENVIRONMENT).read_text())
    digests = {name: provenance.digest((run / name).read_bytes()) for name in told["files"]}
    folder.write_json(run / folder.ENVIRONMENT, {**told, "files": digests})


def test_package_code_that_changed_is_refused(copy, monkeypatch, capsys):
    run, usual = copy("pairs"), provenance.module_digest

    def other(name):
        return "0" * 64 if name == "attnkit.models.encoder_decoder" else usual(name)

    monkeypatch.setattr(provenance, "module_digest", other)
    assert main(["predict", str(run), "red"]) == 2
    told = capsys.readouterr().err
    assert "changed: attnkit.models.encoder_decoder; put that back, or say --allow-changed-code" in told
    assert json.loads((run / provenance.CODE).read_text())["digest"] in told
    assert main(["predict", str(run), "red", "--allow-changed-code"]) == 0
    assert "warning: changed since training: attnkit " in capsys.readouterr().err
    assert ak.load_run(run, allow_changed_code=True).session.changes


def test_a_strangers_run_executes_nothing_unless_trusted(copy, tmp_path, capsys):
    run = copy("pairs")
    (run / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    text = (run / folder.CONFIG).read_text().replace('kind = "encoder_decoder"', 'kind = "evil.py:Evil"')
    reseal(run, {folder.CONFIG: text})
    for words in (
        ["evaluate", str(run)],
        ["report", str(run)],
        ["predict", str(run), "a"],
        ["chat", str(run)],
    ):
        assert main(words) == 2
        assert "say --allow-import if you trust it" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="allow-import"):
        ak.load_run(run)
    assert not (tmp_path / "ran").exists()
    assert main(["predict", str(run), "a", "--allow-import"]) == 2 and (tmp_path / "ran").exists()


def test_names_inside_a_run_stay_inside(copy, tmp_path):
    run = copy("own")
    (tmp_path / "outside.py").write_text((run / "code/1/mine.py").read_text())
    (run / "code/1/mine.py").unlink()
    (run / "code/1/mine.py").symlink_to(tmp_path / "outside.py")
    assert main(["predict", str(run), "the", "--allow-import"]) == 5


@pytest.mark.parametrize(
    "name", [folder.CONFIG, folder.ENVIRONMENT, provenance.DATASET, provenance.CODE, "code/1/helper.py"]
)
def test_a_file_that_is_changed_missing_or_broken_is_noticed(name, copy, capsys):
    run = copy("own")
    whole = (run / name).read_bytes()
    for content in (bytes([*whole[:7], whole[7] ^ 1, *whole[8:]]), whole[:-9], b"", b"[1]", None):
        (run / name).unlink()
        if content is not None:
            (run / name).write_bytes(content)
        for words in (["predict", str(run), "the", "--allow-import"], ["report", str(run), "--allow-import"]):
            assert main(words) in (2, 5)
            told = capsys.readouterr().err
            assert told.count("\n") == told.count("error: ") == 1 and Path(name).name in told
        (run / name).write_bytes(whole)


def test_resume_without_its_config_is_refused(copy, capsys):
    run = copy("pairs", everything=True)
    for change in (lambda file: file.unlink(), lambda file: file.write_text("[")):
        change(run / folder.CONFIG)
        before = sorted(run.rglob("*"))
        assert main(["train", "pairs.toml", "--resume", "training.steps=9"]) == 2
        assert "config.toml" in capsys.readouterr().err and sorted(run.rglob("*")) == before


def test_more_steps_do_not_move_the_schedule_silently(copy, capsys):
    run = copy("pairs", everything=True)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["train", "pairs.toml", "--resume", "training.steps=5"]) == 2
    assert "add optimizer.decay_steps=3, or start another run" in capsys.readouterr().err
    assert main(["train", "pairs.toml", "--resume", "training.steps=2", "--quiet"]) == 0
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    words = ["training.steps=5", "optimizer.decay_steps=3", "--resume", "--quiet"]
    assert main(["train", "pairs.toml", *words]) == 0
    rows = [json.loads(line) for line in (run / folder.METRICS).read_text().splitlines()]
    rates = [row["learning_rate"] for row in rows if row["split"] == "train"]
    assert (len(rates) == 5 and rates[2] == rates[3] == rates[4]) or rates[3] > rates[2]


def test_an_evaluation_that_cannot_be_recorded_is_printed(copy, capsys):
    run = copy("pairs", everything=True)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with folder.lock(run):
        assert main(["evaluate", str(run)]) == 0
    told = capsys.readouterr()
    assert "exact match" in told.out and "warning: this evaluation is not recorded" in told.err
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_cut_off_evaluation_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "lines.jsonl"
    folder.append(path, {"a": 1})
    path.write_bytes(path.read_bytes() + b'{"b"')
    folder.append(path, {"c": float("nan")})
    first, broken, last = path.read_bytes().splitlines()
    assert files.unsealed(first, indent=None) == {"a": 1} and broken == b'{"b"'
    assert files.unsealed(last, indent=None) == {"c": None}


@pytest.mark.parametrize("made_under", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_opens_with_and_without_x64(made_under, made, copy, tmp_path):
    with jax.enable_x64(made_under):
        run = copy("pairs", everything=True)
        if made_under:
            assert main(["train", "pairs.toml", "--out", "wide", "--quiet"]) == 0
            run = Path("wide")
        answer = said(ak.load_run(run), "pairs")
    with jax.enable_x64(not made_under):
        assert said(ak.load_run(run), "pairs") == answer
        assert (
            main(
                [
                    "train",
                    "pairs.toml",
                    "--resume",
                    "--out",
                    str(run),
                    "training.steps=4",
                    "optimizer.decay_steps=3",
                ]
            )
            == 2
        )


def test_out_is_the_users_business(made, tmp_path, monkeypatch):
    monkeypatch.chdir(made[0])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / ".gitkeep").touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(scratch)
    for out in (str(scratch), None, str(scratch / "a/b"), "../" + tmp_path.name + "/c", "runs/d"):
        with folder.claim("name", out, False) as place:
            (place / "x").touch()
    assert {path.name for path in scratch.iterdir()} >= {"name-1", "a", "d"} and (tmp_path / "c/x").exists()
