import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from training.checkpoints import KEPT, tree

from attnkit.training.checkpoint import Checkpoints


@pytest.fixture(scope="session")
def toy():
    """The module `toy.py` beside this file."""
    path = Path(__file__).with_name("toy.py")
    spec = importlib.util.spec_from_file_location("training_toy", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["training_toy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="package", autouse=True)
def compile_once(cache):
    """Equal programs of different runs are compiled once."""
    settings = {
        "jax_compilation_cache_dir": str(cache),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    earlier = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in earlier.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def bits():
    """A tree as a list of (path, dtype, bytes), which is equal only to the same bits."""
    from attnkit.training.pytree_io import flatten

    def of(tree):
        return [(path, array.dtype, array.shape, array.tobytes()) for path, array in flatten(tree).items()]

    return of


@pytest.fixture(scope="session")
def state_of(toy):
    """The state saved by a toy run in a folder, as a flat dictionary of arrays."""
    from attnkit.training.checkpoint import Checkpoints, _read_arrays

    def of(folder, step=None):
        checkpoints = Checkpoints(folder / "checkpoints")
        step = checkpoints.steps()[-1] if step is None else step
        manifest = checkpoints.verify(step)
        arrays = _read_arrays(checkpoints._path(step), manifest)
        return {path: (array.dtype, array.tobytes()) for path, array in sorted(arrays.items())}

    return of


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=KEPT)
    for step in (10, 20, 30):
        checkpoints.save(step, tree(step), facts={"seed": 7})
    return checkpoints
