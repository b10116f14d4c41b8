"""Compilers for devices that are not there, for tests that are skipped without them."""

import importlib.util
import os
from pathlib import Path

import pytest

from attnkit.jax_api import compile_only_devices


def devices(platform):
    """Four devices of a platform that programs can be compiled for."""
    spec = importlib.util.find_spec("libtpu")
    folder = os.environ.get("ATTNKIT_COMPILERS") or (spec and Path(spec.origin).parents[1])
    if not folder:
        pytest.skip("there are no compilers: pip install attnkit[compilers], or name a folder")
    return compile_only_devices(platform, Path(folder))
