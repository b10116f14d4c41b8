"""The namespace is lazy, complete, and needs few packages."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
import textwrap

import attnkit as ak

BLOCKED = ("matplotlib", "PIL", "num2words", "tomli_w", "orbax", "sklearn", "torch", "datasets", "tokenizers")


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_alone_loads_neither_jax_nor_flax():
    loaded = run(
        "import sys, attnkit; print(sorted({'jax', 'flax', 'numpy', 'pydantic'} & sys.modules.keys()))"
    )
    assert loaded == "[]\n"


def test_core_needs_no_optional_package():
    run(
        f"""
        import importlib.abc, sys

        class Blocked(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name.split(".")[0] in {BLOCKED!r}:
                    raise ImportError(f"{{name}} is not needed here")

        sys.meta_path.insert(0, Blocked())
        import jax.numpy as jnp
        from flax import nnx
        import attnkit as ak

        q = jnp.ones((2, 3, 4))
        assert ak.attend(q, q, q, ak.Attention(position=ak.Alibi(), mask=ak.Causal())).output.shape == q.shape
        layer = ak.nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0))
        assert layer(jnp.ones((3, 8))).shape == (3, 8)
        ak.explain(ak.Attention(), 8), ak.check, ak.bench, ak.load_run, dir(ak)
        """
    )


def test_no_name_is_hidden_by_a_module_of_the_package():
    """Importing `attnkit.x` sets the attribute `x` of the package, over what the namespace says it is."""
    modules = {info.name for info in pkgutil.iter_modules(ak.__path__)}
    for name in modules & set(dir(ak)):
        assert getattr(ak, name) is importlib.import_module(f"attnkit.{name}"), name


def test_every_name_is_there_and_documented():
    for name in dir(ak):
        thing = getattr(ak, name)
        assert inspect.getdoc(thing), name
    assert set(ak.__all__) <= set(dir(ak))


def test_catalogue_classes_have_one_name_each():
    from attnkit import _ROOMS, lazy

    found = {}
    for room, package in _ROOMS.items():
        for name, thing in lazy.classes(package).items():
            found.setdefault(name, []).append(f"{room}.{name}")
            assert getattr(getattr(ak, room), name) is thing
    assert not {name: rooms for name, rooms in found.items() if len(rooms) > 1}
    assert len(found) > 200
