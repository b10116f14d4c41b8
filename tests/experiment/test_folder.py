import json
import os
import subprocess
import sys
import textwrap

import pytest

from attnkit import files
from attnkit.errors import ConfigError
from attnkit.experiment import config, folder


@pytest.mark.parametrize(
    "out",
    [
        "../x",
        "a/../../x",
        "a/../x",
        "/tmp/x",
        "~/x",
        "~",
        "",
        ".",
        "a\nb",
        "a\0b",
        "x" * 300,
        "nul",
        "a/CON.txt",
        "-x",
        "a\\b",
        "a/b.",
        "a\u2028b",
        "..",
        "COM1",
    ],
)
def test_folders_that_are_refused(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        folder.checked(out)
    assert str(caught.value).startswith("--out ") and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["x", "a/b/c", "a/./b", "run 1", "größe", "a..b"])
def test_folders_that_are_fine(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    assert folder.checked(out).resolve().is_relative_to(tmp_path)


def test_a_link_must_not_lead_out(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "real").mkdir()
    (inside / "near").symlink_to(inside / "real")
    monkeypatch.chdir(inside)
    with pytest.raises(ConfigError, match="leads out"):
        folder.checked("link/run")
    assert folder.checked("near/run").resolve() == inside / "real/run"
    (inside / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="leads"):
        folder.checked("loop/run")


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(folder.choose("words", None, False)) == "runs/words-1"
    for name in ("words-1", "words-9", "words-10", "words-x", "other-30", "words-best-40"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(folder.choose("words", None, False)) == "runs/words-11"
    assert str(folder.choose("words", None, True)) == "runs/words-10"
    assert str(folder.choose("../we[ird]", None, False)) == "runs/..-we-ird--1"


def test_an_existing_run_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    assert folder.choose("x", "run", False) == folder.checked("run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        folder.choose("x", "run", False)
    (tmp_path / "run" / folder.CONFIG).write_text("")
    with pytest.raises(ConfigError, match="holds a run; add --resume"):
        folder.choose("x", "run", False)
    assert folder.choose("x", "run", True) == folder.checked("run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        folder.choose("x", "file", True)


def test_a_second_process_is_told_who_has_the_lock_and_a_dead_one_has_none(tmp_path):
    code = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from attnkit.experiment import folder
        with folder.lock(Path(sys.argv[1])):
            print("locked", flush=True)
            sys.stdin.read()
            os._exit(9)
        """
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(ConfigError, match=f"in use by process {holder.pid} on host "), folder.lock(tmp_path):
        pass
    holder.communicate("")
    assert (tmp_path / folder.LOCK).exists()
    with folder.lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / folder.LOCK).read_text()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), folder.lock(tmp_path / "file" / "run"):
        pass


def test_json_has_no_numbers_that_are_not_finite(tmp_path):
    path = tmp_path / "a.json"
    folder.write_json(path, {"a": float("nan"), "b": (1, float("inf")), "c": {3: "</script>"}})
    found = json.loads(path.read_text())
    assert found.pop(files.SEAL) and found == {"a": None, "b": [1, None], "c": {"3": "</script>"}}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_only_harmless_options_may_change_on_resume(workplace):
    file = workplace / "config.toml"
    old = config.load(file).table()
    for words in (["training.steps=3"], ["decoding.beams=7"], ["about=new"], ["training.evaluate_every=2"]):
        folder.agree(old, config.load(file, words).table(), workplace)
    with pytest.raises(ConfigError) as caught:
        changed = config.load(
            file, ["model.model_dim=14", "model.mixer.position.1.base=3.0", "optimizer.b1=0.5"]
        )
        folder.agree(old, changed.table(), workplace)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"model.model_dim = 14: the run in {workplace} has 70")
    assert [line.split(" = ")[0] for line in lines[1:]] == ["model.mixer.position", "optimizer.b1"]


def test_half_a_surrogate_pair_is_written_and_read_again(tmp_path):
    value = {"got": "a\ud800b", "name": "\u00e9"}
    folder.write_json(tmp_path / "x.json", value)
    found = folder.read_json(tmp_path / "x.json")
    assert found.pop(files.SEAL) and found == value
