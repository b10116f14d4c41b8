import hashlib
import os
from pathlib import Path

import pytest
from training.checkpoints import tree, value

from attnkit import files
from attnkit.errors import CheckpointError
from attnkit.training import manifest
from attnkit.training.checkpoint import Checkpoints


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kill_while_a_metric_is_noted_leaves_the_checkpoint_whole(saved, monkeypatch, moment):
    def die(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, moment, die)
        # A killed process does not tidy up either.
        patch.setattr(Path, "unlink", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            saved.annotate(30, 0.5)
    assert any(entry.name.endswith(files.PART) for entry in saved.folder.iterdir())
    assert saved.steps() == [10, 20, 30] and value(saved.restore(tree(), strict=True)) == 30
    saved.clean()
    assert not list(saved.folder.glob(".*"))


def test_entries_that_do_not_belong_to_a_checkpoint_are_ignored_with_a_line(saved, caplog):
    folder = saved._path(30)
    (folder / ".writing_manifest.json").write_text("{")
    (folder / "tree" / ".zarray").write_text("{")
    (folder / "tree" / "_METADATA.bak").write_text("{")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "tree" / "pipe")
    assert value(saved.restore(tree(), strict=True)) == 30
    assert value(saved.restore(tree(), strict=True)) == 30
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 4 and all("not part of the checkpoint, ignored" in line for line in told)


def test_what_hides_damage_is_not_ignored(saved):
    (file,) = saved._path(30).glob("tree/_METADATA")
    file.rename(file.with_name("_METADATA.bak"))
    assert value(saved.restore(tree())) == 20


def test_an_unreadable_file_is_damage(saved, monkeypatch, caplog):
    digest = hashlib.file_digest

    def denied(file, kind):
        if "step_000000030" in file.name:
            raise PermissionError(13, "Permission denied")
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", denied)
    assert value(saved.restore(tree())) == 20
    assert "falling back" in caplog.text


def test_checkpoints_without_manifests_are_damaged_and_not_absent(saved, caplog):
    (saved._path(30) / manifest.MANIFEST).unlink()
    assert saved.steps() == [10, 20, 30] and value(saved.restore(tree())) == 20
    assert "step_000000030" in caplog.text
    for step in (10, 20):
        (saved._path(step) / manifest.MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        saved.restore(tree())


def test_a_folder_of_checkpoints_that_is_a_link_is_not_written_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to("elsewhere")
    with pytest.raises(CheckpointError, match="is a link"):
        Checkpoints(tmp_path / "checkpoints").save(1, tree(1))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("number", [13, 28, 30])
def test_a_metric_that_cannot_be_noted_is_an_error_and_the_checkpoint_stays(saved, monkeypatch, number):
    def fail(*given):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(CheckpointError, match=f"cannot be written: {os.strerror(number)}"):
            saved.annotate(30, 0.25)
    assert value(saved.restore(tree(), strict=True)) == 30 and not list(saved.folder.glob(".*"))
