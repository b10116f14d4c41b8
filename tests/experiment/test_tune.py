"""Block sizes that were measured are remembered, used and said; what cannot be read is refused."""

import json

import jax
import pytest

from attnkit import forms
from attnkit.experiment import provenance, tune
from attnkit.experiment.cli import main
from attnkit.forms import tiling
from attnkit.forms.block_mask import make_block_mask
from attnkit.masks.everything import Everything
from attnkit.scored.preset.attention import Attention

TIMES = {(512, 1): 4e-9, (256, 1): 2e-9, (128, 1): 8e-9}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTNKIT_BLOCKS", str(tmp_path))
    yield tmp_path / "blocks"
    tiling.read.cache_clear()


def measured(target, side, width, length, rounds):
    if (side, width) not in TIMES:
        raise RuntimeError("no memory\nmore")
    return TIMES[side, width]


def test_what_was_measured_decides_which_blocks_are_computed(folder, monkeypatch, capsys):
    monkeypatch.setattr(tune, "seconds", measured)
    before = forms.explain(Attention().scored(), 4096, 4096).block
    assert main(["tune", "--json"]) == 0
    shown, told = capsys.readouterr()
    (file,) = folder.iterdir()
    steps = [[512, 1, 2.0], [256, 1, 1.0], [128, 1, 4.0]]
    assert json.loads(file.read_text())["loops"] == steps == json.loads(shown)["steps"]["loops"]
    assert "loops: 256 x 1: 2.000 ns for a pair" in told and "256 x 4 left out: no memory\n" in told
    assert (before, forms.explain(Attention().scored(), 4096, 4096).block) == ((512, 512), (256, 256))
    assert tiling.tiling("kernels", "gpu") == tiling.shipped("kernels", "gpu")  # measured elsewhere
    assert json.loads(provenance.environment(Config())["blocks"])["loops"] == steps
    assert main(["tune", "--forget"]) == 0
    assert not file.exists() and forms.explain(Attention().scored(), 4096, 4096).block == (512, 512)
    assert "blocks" not in provenance.environment(Config())


class Config:
    """A config, for its hash."""

    def hash(self):
        return "0"


def test_sizes_that_cannot_be_read_are_refused_in_a_line(folder):
    tiling.keep_steps({"loops": [(256, 1, 1.0)]})
    (file,) = folder.iterdir()
    file.write_text("[1, 2")
    tiling.read.cache_clear()
    with pytest.raises(
        ValueError, match=r"\.json: no block sizes can be read: .*; measure again: attnkit tune"
    ):
        forms.explain(Attention().scored(), 4096, 4096)


def test_options_that_measure_nothing_are_refused(folder, monkeypatch, capsys):
    assert main(["tune", "--length", "1023"]) == 2 and "expected at least 1024" in capsys.readouterr().err
    assert main(["tune", "--rounds", "0"]) == 2
    monkeypatch.setattr(tune, "seconds", lambda *given: 1 / 0)
    assert main(["tune"]) == 2 and "nothing could be measured" in capsys.readouterr().err
    monkeypatch.setattr(tune, "tune", lambda *given: pytest.fail("measured before it knew where to keep it"))
    monkeypatch.setenv("ATTNKIT_BLOCKS", "")
    assert main(["tune"]) == 2 and "no folder to remember in" in capsys.readouterr().err
    assert main(["tune", "--length", "0"]) == 2 and "--length 0: expected" in capsys.readouterr().err
    monkeypatch.setenv("ATTNKIT_BLOCKS", "/dev/null/x")
    assert main(["tune"]) == 2 and "set ATTNKIT_BLOCKS to a folder" in capsys.readouterr().err


def test_forgetting_needs_neither_a_length_nor_a_folder(folder, monkeypatch, capsys):
    monkeypatch.setenv("ATTNKIT_BLOCKS", str(folder / "none"))
    assert main(["tune", "--forget", "--length", "1"]) == 0 and "forgotten" in capsys.readouterr().out
    assert not (folder / "none").exists()


def test_a_pair_takes_time_and_kernels_are_measured_where_they_are_compiled(monkeypatch):
    assert 0 < tune.seconds("loops", 128, 1, 256, 1) < 1
    assert list(tune.targets()) == ["loops"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert tune.targets()["kernels"] == [(64, 1), (128, 1)]
    assert tune.blocks(64, 1, 100, True).block == (64, 64) and tune.lowering_of("kernels").run
    assert tune.blocks(256, 3, 1024, False).merge_width == 3


def test_blocks_are_chosen_anew_when_sizes_change(folder):
    assert make_block_mask(Everything(), 3000, 3000).block == (504, 504)
    tiling.keep_steps({"loops": [(128, 1, 1.0)]})
    assert make_block_mask(Everything(), 3000, 3000).block == (128, 128)
