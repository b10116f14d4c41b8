import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import attnkit as ak
from attnkit.errors import ConfigError
from attnkit.experiment.cli import main

pytest.importorskip("flatbuffers")
safetensors = pytest.importorskip("safetensors.numpy")

#: What a stranger does with the folder, where neither attnkit nor flax can be imported.
STRANGER = """
import sys
sys.modules.update(attnkit=None, flax=None)
import runpy
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file, save_file

run = runpy.run_path("run.py", run_name="__main__")
network = run["Exported"](Path("."))
batch = load_file("given.safetensors")
begun = network.about["example_begun"]
empty = {**batch, "inputs": np.where(np.arange(batch["inputs"].shape[1]) < begun, batch["inputs"], 0)}
written = network.write(empty, begun)
print(*(network.text(row[begun:]) for row in written), sep="\\n")
save_file({"logits": network.logits(batch)}, "found.safetensors")
"""


def test_an_exported_network_gives_the_same_logits_without_attnkit(small_run, tmp_path, capsys):
    place = tmp_path / "out"
    assert main(["export", str(small_run / "runs/small-1"), "--out", str(place)]) == 0
    assert capsys.readouterr().out == f"{place}\n"
    run, about = ak.load_run(small_run / "runs/small-1"), json.loads((place / "export.json").read_text())
    assert about["platforms"] == ["cpu", "cuda", "tpu"] and not about["not_exported_for"]
    assert {name: tuple(shape) for name, (shape, _) in about["inputs"].items()} == {
        "inputs": ("batch", run.session.dataset.length),
        "source": ("batch", run.session.dataset.source_length),
        "source_length": ("batch",),
    }
    rng = np.random.default_rng(0)
    shapes = {name: (3, *shape[1:]) for name, (shape, _) in about["inputs"].items()}
    batch = {name: rng.integers(1, 5, shape).astype(np.int32) for name, shape in shapes.items()}
    batch["inputs"][:, 0] = 1
    safetensors.save_file(batch, place / "given.safetensors")
    expected = jax.jit(lambda batch: run.model(batch).logits)(batch)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER], cwd=place, capture_output=True, text=True, check=True
    )
    found = safetensors.load_file(place / "found.safetensors")["logits"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    difference, answer, *written = done.stdout.splitlines()
    assert (
        float(difference.split(": ")[1]) <= 1e-6
        and answer.startswith("most probable: ")
        and len(written) == 3
    )
    names = set(safetensors.load_file(place / "model.safetensors"))
    assert {"embedding.table", "readout.kernel"} <= names and not any("'" in name for name in names)


def test_export_refuses_a_folder_in_use_and_names_the_missing_package(small_run, tmp_path, monkeypatch):
    run = ak.load_run(small_run / "runs/small-1")
    (tmp_path / "full").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        run.export(tmp_path)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ConfigError, match=r"needs the package flatbuffers; install attnkit\[export\]"):
        run.export(tmp_path / "new")
    assert not (tmp_path / "new").exists()
