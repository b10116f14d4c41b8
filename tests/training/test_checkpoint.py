import json
import logging
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.checkpoints import KEPT, tree, value

from attnkit import files
from attnkit.errors import CheckpointError
from attnkit.training import checkpoint, manifest
from attnkit.training.checkpoint import Checkpoints


def newest_files(checkpoints):
    return sorted(path for path in checkpoints._path(30).rglob("*") if path.is_file())


def test_every_kind_of_leaf_comes_back_bit_for_bit(tmp_path, bits):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree(3.0))
    restored = checkpoints.restore(tree(0.0)).tree
    assert bits(restored) == bits(tree(3.0))
    kinds = {name: type(leaf) for name, leaf in restored.items()}
    assert kinds == {name: type(leaf) for name, leaf in tree().items()}
    assert restored["key"].dtype == tree()["key"].dtype
    assert jax.random.normal(restored["key"]) == jax.random.normal(jax.random.key(3))


def test_int64_on_the_device_comes_back(tmp_path):
    with jax.enable_x64(True):
        wide = {"a": jnp.array([2**60 + 1]), "b": jnp.array([0.1])}
        Checkpoints(tmp_path).save(1, wide)
        restored = Checkpoints(tmp_path).restore(wide).tree
        assert restored["a"].dtype == jnp.int64 and restored["a"][0] == 2**60 + 1
        assert restored["b"].dtype == jnp.float64 and restored["b"][0] == 0.1


def test_a_tree_of_empty_arrays_and_what_cannot_be_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.zeros((0, 3))})
    assert checkpoints.restore({"a": np.zeros((0, 3))}).tree["a"].shape == (0, 3)
    for wrong in ("text", 2**70, object(), np.array([None])):
        with pytest.raises(CheckpointError, match="a: "):
            checkpoints.save(2, {"a": wrong})
    assert checkpoints.steps() == [1] and not list(tmp_path.glob(".*"))


def test_facts_and_metric(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, {"a": 1}, metric=0.1 + 0.2, facts={"seed": 7, "fingerprint": "3f"})
    manifest = checkpoints.restore({"a": 0}).manifest
    assert (manifest.step, manifest.metric) == (3, 0.1 + 0.2)
    assert manifest.facts == {"seed": 7, "fingerprint": "3f"}


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset // 8] ^= 1 << offset % 8
    path.write_bytes(content)


def flips_of(checkpoints, count):
    random = np.random.default_rng(3)
    for path in newest_files(checkpoints):
        for offset in random.integers(0, 8 * path.stat().st_size, count):
            yield path, int(offset)


@pytest.mark.parametrize("count", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_noticed(saved, caplog, count):
    for path, offset in flips_of(saved, count):
        flip(path, offset)
        caplog.clear()
        assert value(saved.restore(tree())) == 20
        assert path.name in caplog.text and "falling back" in caplog.text
        with pytest.raises(CheckpointError, match=path.name):
            saved.restore(tree(), strict=True)
        flip(path, offset)
    assert value(saved.restore(tree())) == 30


def damage_truncate(path, other):
    path.write_bytes(path.read_bytes()[:-1])


def damage_empty(path, other):
    path.write_bytes(b"")


def damage_delete(path, other):
    path.unlink()


def damage_swap(path, other):
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def damage_link(path, other):
    content = path.read_bytes()
    target = next(folder for folder in path.parents if folder.name == "checkpoints").parent / "elsewhere"
    target.write_bytes(content)
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    "damage",
    [damage_truncate, damage_empty, damage_delete, damage_swap, damage_link],
    ids=lambda f: f.__name__,
)
def test_damaged_files_are_noticed(saved, damage, caplog, tmp_path):
    names = [path.relative_to(saved._path(30)) for path in newest_files(saved)]
    whole = tmp_path / "whole"
    shutil.copytree(saved._path(30), whole)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        if damage is damage_swap and (whole / name).read_bytes() == (whole / other).read_bytes():
            continue
        if damage is damage_link and name.name == manifest.MANIFEST:
            continue
        damage(saved._path(30) / name, saved._path(30) / other)
        assert value(saved.restore(tree())) == 20, name
        shutil.rmtree(saved._path(30))
        shutil.copytree(whole, saved._path(30))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"sha256": 1}', b"null"]
)
def test_a_manifest_that_is_garbage(saved, text):
    (saved._path(30) / manifest.MANIFEST).write_bytes(text)
    assert value(saved.restore(tree())) == 20


def test_none_left(saved):
    for step in (10, 20, 30):
        flip(saved._path(step) / manifest.MANIFEST, 77)
    with pytest.raises(CheckpointError, match="every checkpoint is damaged") as caught:
        saved.restore(tree())
    assert caught.value.exit_code == 5


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        Checkpoints(tmp_path / "nowhere").restore(tree())


def test_a_checkpoint_under_another_steps_name_is_not_believed(saved):
    shutil.copytree(saved._path(10), saved._path(40))
    assert value(saved.restore(tree())) == 30


def test_stray_entries_are_left_alone(saved, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    folder = saved.folder
    (folder / "9").mkdir()
    (folder / "9.tmp").mkdir()
    (folder / "7").write_text("x")
    (folder / "abc").mkdir()
    (folder / "step_000000099").mkdir()
    (folder / "step_000000098").symlink_to(saved._path(30))
    (folder / "step_000000097").write_text("")
    (folder / "step_96").mkdir()
    assert saved.steps() == [10, 20, 30]
    assert value(saved.restore(tree())) == 30
    for name in ("9", "9.tmp", "7", "abc", "step_000000099", "step_000000098", "step_000000097", "step_96"):
        assert f"{name}: not a checkpoint" in caplog.text
    saved.keep = 1
    saved.save(40, tree(40))
    assert {"9", "9.tmp", "7", "abc", "step_96"} < {entry.name for entry in folder.iterdir()}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"wide": np.zeros((3,), np.int64)}, r"wide: expected numpy int64\[3\], found numpy int64\[2\]"),
        ({"wide": np.zeros((2,), np.int32)}, r"wide: expected numpy int32\[2\], found numpy int64\[2\]"),
        ({"scalar": np.float32(1)}, r"scalar: expected numpy float32\[\], found jax float32\[\]"),
        ({"scalar": jnp.zeros(1)}, r"scalar: expected jax float32\[1\], found jax float32\[\]"),
        ({"count": 1.0}, r"count: expected float float64\[\], found int int64\[\]"),
        ({"flag": 1}, r"flag: expected int int64\[\], found bool bool\[\]"),
        (
            {"key": jax.random.key(0, impl="rbg")},
            r"key: expected key rbg uint32\[4\], found key threefry2x32 uint32\[2\]",
        ),
        ({"more": 1}, r"more: expected int int64\[\], found nothing"),
        ({"rate": None}, r"rate: expected nothing, found float float64\[\]"),
        (
            {"params": {"wEight": jnp.zeros((3, 5)), "low": jnp.zeros(2, jnp.bfloat16)}},
            "params/weight: expected nothing",
        ),
    ],
)
def test_another_tree_is_refused_with_every_difference(saved, change, expected):
    wrong = {**tree(), **change, "zero": np.zeros((2, 2))}
    with pytest.raises(CheckpointError, match=expected) as caught:
        saved.restore(wrong)
    assert "zero: expected numpy float64[2, 2], found numpy float64[]" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_casting_only_when_allowed(saved):
    other = {**tree(), "scalar": jnp.bfloat16(1)}
    with pytest.raises(CheckpointError, match="scalar: expected jax bfloat16"):
        saved.restore(other)
    restored = saved.restore(other, allow_cast=True).tree["scalar"]
    assert restored.dtype == jnp.bfloat16 and restored == 30
    with pytest.raises(CheckpointError, match="count"):
        saved.restore({**tree(), "count": 1.0}, allow_cast=True)


def test_a_part_of_the_tree(saved):
    part = {"params": tree(0.0)["params"]}
    assert float(saved.restore(part, partial=True).tree["params"]["weight"][2, 4]) == 30
    with pytest.raises(CheckpointError, match="params/low: expected nothing"):
        saved.restore({"params": {"weight": part["params"]["weight"]}}, partial=True)


def test_the_newest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step, metric in ((1, 0.5), (2, np.nan), (3, 0.2), (4, 0.2), (5, np.inf), (6, 0.9), (7, -np.inf)):
        checkpoints.save(step, {"a": step})
        checkpoints.annotate(step, metric)
    assert checkpoints.steps() == [4, 6, 7] or checkpoints.steps() == [3, 6, 7]
    best = checkpoints.restore({"a": 0}, "best")
    assert best.manifest.metric == 0.2
    assert checkpoints.metrics() == {best.manifest.step: 0.2, 6: 0.9}
    assert checkpoints.restore({"a": 0}).tree == {"a": 7}


def test_best_falls_back_when_damaged(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep=KEPT)
    for step, metric in ((1, 0.5), (2, 0.1), (3, 0.3)):
        checkpoints.save(step, {"a": step}, metric=metric)
    flip(next((checkpoints._path(2) / "tree").glob("_METADATA")), 5)
    assert checkpoints.restore({"a": 0}, "best").tree == {"a": 3}
    assert "_METADATA" in caplog.text


def test_best_without_any_metric_is_the_last(saved):
    assert value(saved.restore(tree(), "best")) == 30


def test_the_only_whole_checkpoint_is_never_deleted(saved):
    for step in (20, 30):
        flip(saved._path(step) / manifest.MANIFEST, 77)
    saved.keep = 1
    saved._retain()
    assert saved.steps() == [10, 20, 30]
    assert value(saved.restore(tree())) == 10


def test_deletion_waits_for_the_new_one_to_be_whole(saved, monkeypatch):
    saved.keep = 1
    read = checkpoint._read_arrays

    def misread(folder, manifest):
        found = read(folder, manifest)
        return {**found, "scalar": found["scalar"] + 1}

    monkeypatch.setattr(checkpoint, "_read_arrays", misread)
    with pytest.raises(CheckpointError, match=r"step 40.*read back differently: scalar"):
        saved.save(40, tree(40))
    assert saved.steps() == [10, 20, 30] and not list(saved.folder.glob(".*"))


def test_saving_the_same_step_again_replaces_it(saved):
    saved.save(30, tree(31))
    assert value(saved.restore(tree())) == 31 and saved.steps() == [10, 20, 30]


def test_a_full_disk(saved):
    big = {"a": np.random.default_rng(0).normal(size=200_003)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match="cannot write the checkpoint of step 40"):
            saved.save(40, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved.steps() == [10, 20, 30] and not list(saved.folder.glob(".*"))
    assert value(saved.restore(tree())) == 30


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint of step 1"):
        Checkpoints(tmp_path / "file" / "checkpoints").save(1, {"a": 1})


@pytest.mark.parametrize("moment", ["_write_arrays", "_sync_all", "digests", "_read_arrays", "sync"])
def test_whatever_interrupts_a_save_leaves_the_earlier_ones(saved, monkeypatch, moment):
    with monkeypatch.context() as patch:

        def die(*args):
            raise KeyboardInterrupt

        patch.setattr(checkpoint, moment, die)
        with pytest.raises(KeyboardInterrupt):
            saved.save(40, tree(40))
    again = Checkpoints(saved.folder, keep=KEPT)
    assert again.steps() == [10, 20, 30]
    assert value(again.restore(tree())) == 30
    again.clean()
    assert not list(saved.folder.glob(".*"))
    again.save(40, tree(40))
    assert value(again.restore(tree())) == 40


@pytest.mark.parametrize(
    ("step", "way"), [(1, "update attnkit"), (-1, "train again, or use the attnkit that")]
)
def test_another_format_says_so(saved, step, way):
    path = saved._path(30) / manifest.MANIFEST
    body = json.loads(path.read_text())
    body["format"] = manifest.FORMAT + step
    path.write_bytes(files.sealed(body, **manifest.LAYOUT))
    with pytest.raises(CheckpointError, match=f"format {2 + step}, this attnkit reads format 2; {way}"):
        saved.restore(tree())


def test_a_restored_tree_lies_where_the_template_does(saved):
    assert saved.restore(tree()).tree["scalar"].sharding == tree()["scalar"].sharding


def test_a_checkpoint_of_long_ago_can_be_read():
    """The folder `format_*` was written by the first attnkit with that format, and stays as it is."""
    template = {
        "params": {"weight": jnp.zeros((2, 3)), "low": jnp.zeros(1, jnp.bfloat16)},
        "empty": np.zeros((0, 7), np.float32),
        "wide": np.zeros(1, np.int64),
        "key": jax.random.key(0),
        "count": 0,
        "rate": 0.0,
        "flag": False,
    }
    restored = Checkpoints(Path(__file__).with_name(f"format_{manifest.FORMAT}")).restore(
        template, strict=True
    )
    found = restored.tree
    np.testing.assert_array_equal(found["params"]["weight"], [[0, 1, 2], [3, 4, 5]])
    assert found["params"]["low"][0] == jnp.bfloat16(0.1) and found["wide"][0] == 2**60 + 1
    assert (found["count"], found["rate"], found["flag"], found["empty"].shape) == (3, 0.1, True, (0, 7))
    assert (jax.random.key_data(found["key"]) == jax.random.key_data(jax.random.key(5))).all()
    assert (restored.manifest.step, restored.manifest.metric, restored.manifest.facts) == (
        3,
        0.25,
        {"seed": 7},
    )


def test_a_damaged_newer_checkpoint_does_not_push_out_a_new_one(saved):
    flip(saved._path(30) / manifest.MANIFEST, 77)
    saved.keep = 1
    saved.save(25, tree(25))
    assert 25 in saved.steps()
    assert value(saved.restore(tree())) == 25
    saved.drop_after(25)
    assert saved.steps() == [25]


def test_a_manifest_that_was_edited_is_noticed(saved, caplog):
    path = saved._path(30) / manifest.MANIFEST
    path.write_text(path.read_text().replace('"seed": 7', '"seed": 8'))
    assert value(saved.restore(tree())) == 20
    assert "its SHA-256 is not the one it states" in caplog.text
