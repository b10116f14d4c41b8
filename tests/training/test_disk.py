from types import SimpleNamespace

import numpy as np
import pytest

from attnkit.errors import CheckpointError
from attnkit.training.checkpoint import Checkpoints


def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=131))
    with pytest.raises(CheckpointError, match="No space left on device: 132 bytes needed, 131 free"):
        saved.save(3, {"w": np.ones((11, 3), np.float32)})
    assert not list(tmp_path.iterdir())
