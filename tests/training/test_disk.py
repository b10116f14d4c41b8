import errno
import os

import numpy as np
import pytest

from attnkit.errors import CheckpointError
from attnkit.training import checkpoint
from attnkit.training.checkpoint import Checkpoints


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(tmp_path, monkeypatch, number):
    def full(handle, start, size):
        raise OSError(number, os.strerror(number))

    def written(folder, flat):
        raise AssertionError

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(checkpoint, "_write_arrays", written)
    with pytest.raises(CheckpointError, match=f"{os.strerror(number)}: 2180 bytes needed"):
        Checkpoints(tmp_path).save(3, {"w": np.ones((11, 3), np.float32)})
    assert not list(tmp_path.iterdir())
