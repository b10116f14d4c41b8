import os
import stat

import pytest

from attnkit import files


def test_a_file_is_replaced_and_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "out").symlink_to("mine")
    files.write(tmp_path / "out", "a\ud800b")
    assert (tmp_path / "mine").read_text() == "precious" and not (tmp_path / "out").is_symlink()
    assert (tmp_path / "out").read_bytes() == b"a\\ud800b"
    os.link(tmp_path / "mine", tmp_path / "hard")
    files.write(tmp_path / "hard", b"\0new")
    assert (tmp_path / "mine").read_text() == "precious" and (tmp_path / "hard").read_bytes() == b"\0new"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["hard", "mine", "out"]


def test_planted_names_are_not_used(tmp_path):
    (tmp_path / "mine").write_text("precious")
    for name in ("out.part", ".out.part", "out.tmp"):
        (tmp_path / name).symlink_to("mine")
    files.write(tmp_path / "out", "new")
    assert (tmp_path / "mine").read_text() == "precious" and (tmp_path / "out").read_text() == "new"


def test_others_may_read_what_the_mask_lets_them(tmp_path):
    files.write(tmp_path / "out", "")
    (tmp_path / "usual").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out", "usual")}
    assert len(modes) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_an_error_leaves_the_file_as_it_was(tmp_path, error):
    (tmp_path / "out").write_text("old")
    with pytest.raises(error), files.replacing(tmp_path / "out") as file:
        file.write(b"half")
        raise error
    assert (tmp_path / "out").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_errors_name_the_file(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        files.write(tmp_path / "absent" / "out", "x")
    assert caught.value.filename == str(tmp_path / "absent" / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        files.write(tmp_path / "folder", "x")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write(tmp_path / "out", "x")
    assert caught.value.filename == str(tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_what_killed_writers_leave_is_removed(tmp_path):
    (tmp_path / ".out.abc.part").write_text("")
    (tmp_path / ".out.abd.part").symlink_to("nowhere")
    (tmp_path / "mine.part").write_text("")
    files.clean(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.part"]


@pytest.mark.parametrize("layout", [{}, {"indent": None}, {"indent": 1, "sort": True}])
def test_every_flipped_bit_of_a_sealed_object_is_noticed(layout):
    body = {"b": [1, 1e-05, None, True], "a": "\u00e9\ud800 \x7f", "c": {"d": [], "e": -0.0}}
    data = files.sealed(body, **layout)
    assert files.unsealed(data, **layout) == body
    for place in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError):
            files.unsealed(bytes(wrong), **layout)
    for wrong in (b"", b"{}", b"[1]", b"7", b"null", b"[" * 100_000, b"\xff", data + b" ", data[:-1]):
        with pytest.raises(ValueError):
            files.unsealed(wrong, **layout)
