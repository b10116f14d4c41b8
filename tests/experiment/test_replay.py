import dataclasses
import json
import shutil

import pytest

from attnkit import files
from attnkit.errors import ConfigError
from attnkit.experiment import config, provenance
from attnkit.experiment.cli import main
from attnkit.training import nonfinite


def test_another_precision_or_no_config_is_refused_by_name(tmp_path):
    (tmp_path / "copy.toml").write_text('[task]\nkind = "copy"\n\n[model]\nkind = "decoder"\n')
    loaded = config.load(tmp_path / "copy.toml")
    now = provenance.environment(loaded)
    for name, other in (("x64", True), ("matmul_precision", "highest")):
        record = provenance.Record({**now, name: other}, provenance.Code("", "", {}, {}), {})
        with pytest.raises(ConfigError, match=rf"{name} = .*has {other}; set JAX_[A-Z_0-9]+={other}"):
            provenance.refuse_flags(record, loaded, tmp_path)
    provenance.refuse_flags(dataclasses.replace(record, environment=now), loaded, tmp_path)
    with pytest.raises(ConfigError, match=r"config.toml: is missing, but the folder holds a run"):
        provenance.read(tmp_path)


def test_a_failed_step_is_made_again_with_changed_data_if_allowed(small_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(small_run / "runs/small-1", run)
    told = {"step": 5, "what": "batch", "path": "batch/weights", "seed": 0, "batch": 4}
    files.write(run / nonfinite.DUMP, files.sealed(told))
    words = ["replay", str(run), "--json"]
    assert main(words) == 6 and "in the run: batch is not finite" in capsys.readouterr().err
    files.write(run / nonfinite.DUMP, files.sealed({**told, "what": "nothing", "path": ""}))
    assert main(words) == 0 and json.loads(capsys.readouterr().out)["changed"] == []
    words.append("task.valid_size=12")
    assert main(words) == 3 and "--allow-changed-data" in capsys.readouterr().err
    assert main([*words, "--allow-changed-data"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["replay", str(run), "model.depth=2"]) == 2
    assert found["found"] == ["nothing", ""] and "the data has fingerprint" in found["changed"][0]
