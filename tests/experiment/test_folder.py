import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attnkit import files
from attnkit.errors import ConfigError
from attnkit.experiment import config, folder


@pytest.mark.parametrize(
    "out", ["", "a\nb", "a\0b", "x" * 300, "a/" + "x" * 300, "a\u2028b", "~nobody-at-all/x"]
)
def test_folders_that_are_refused(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        folder.checked(out)
    assert str(caught.value).startswith("--out ") and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["x", "a/b/c", "a/./b", "run 1", "größe", "a..b", "../x", "/tmp/x", "nul"])
def test_folders_that_are_fine(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    assert folder.checked(out) == Path(out)


def test_a_link_may_lead_to_another_disk_but_not_in_a_circle(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    monkeypatch.chdir(inside)
    assert folder.checked("link/run").resolve() == outside / "run"
    (inside / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="leads in a circle"):
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
    assert folder.read_json(tmp_path / "x.json") == value


def test_processes_that_start_at_once_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    together = threading.Barrier(8)

    def claim(number):
        together.wait()
        with folder.claim("words", None, False) as place:
            (place / folder.CONFIG).write_text(str(number))
            together.wait()
            return place, (place / folder.CONFIG).read_text()

    with ThreadPoolExecutor(8) as threads:
        found = dict(threads.map(claim, range(8)))
    assert set(found) == {Path(f"runs/words-{n}") for n in range(1, 9)}
    assert sorted(found.values()) == sorted(map(str, range(8)))


def test_the_second_start_with_one_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with folder.claim("words", "run", False) as place:
        (place / folder.CONFIG).write_text("first")
        for resume in (False, True):
            expected = "in use by process" if resume else "holds a run"
            with pytest.raises(ConfigError, match=expected), folder.claim("words", "run", resume):
                raise AssertionError
        assert (place / folder.CONFIG).read_text() == "first"
    assert [entry.name for entry in place.iterdir()] == [folder.CONFIG]
    with pytest.raises(ConfigError, match="holds a run"), folder.claim("words", "run", False):
        pass
    with folder.claim("words", "run", True) as again:
        assert again == place


def test_a_folder_that_stays_empty_is_removed_and_leftovers_of_killed_writers_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (None, "run"):
        with pytest.raises(KeyError), folder.claim("words", out, False) as place:
            raise KeyError
        assert not place.exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / ".config.toml.x.part").write_text("half")
    with folder.claim("words", "old", True):
        pass
    assert not list((tmp_path / "old").iterdir())


def test_a_planted_link_is_never_written_through(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    for name in (folder.CONFIG, folder.RESULT, folder.REPORT):
        (run / name).symlink_to(tmp_path / "mine")
        (run / f"{name}.part").symlink_to(tmp_path / "mine")
        folder.write(run / name, "new")
    assert (tmp_path / "mine").read_text() == "precious"
    (run / folder.LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match="cannot be written"), folder.lock(run):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("number", [13, 28, 30])
def test_a_disk_that_is_full_or_only_readable_is_one_line(tmp_path, monkeypatch, number):
    def fail(*given, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.chdir(tmp_path)
    folder.write(Path("x"), "old")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", fail)
        with pytest.raises(ConfigError, match=f"x: cannot be written: {os.strerror(number)}"):
            folder.write(Path("x"), "new")
    assert Path("x").read_text() == "old"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", fail)
        with pytest.raises(
            ConfigError, match=f"cannot be written: {os.strerror(number)}; give another --out"
        ):
            folder.claim("words", None, False).__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with folder.claim("words", None, False):
            pass


@pytest.mark.parametrize("content", [b"[1]", b"7", b"", b"{}", b"[" * 100_000, b'{"a": 1, "sha256": "0"}'])
def test_json_that_is_not_what_was_written_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x.json: cannot be read"):
        folder.read_json(tmp_path / "x.json")


def test_huge_and_special_json_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(folder.LARGEST + 1)
    for name in ("pipe.json", "huge.json"):
        with pytest.raises(ConfigError, match="not a regular file"):
            folder.read_json(tmp_path / name)
