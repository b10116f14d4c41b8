"""`attnkit check`: what it accepts, what it prints, how it ends."""

import dataclasses
import json
import subprocess
import sys

import pytest

from attnkit.conformance import approximate, checks
from attnkit.conformance.matrix import Finding
from attnkit.errors import ConfigError
from attnkit.experiment import resolve
from attnkit.experiment.cli import main
from attnkit.experiment.commands.check import BASES

pytestmark = pytest.mark.one_python

BROKEN = '''
import jax.numpy as jnp
from attnkit.option_class import options
from attnkit.scored.contract import Position

@options
class LooksAhead(Position):
    """A bias that knows every key, future ones included."""

    strength: float = 1.0

    def bias(self, p, q, k, i, j):
        return self.strength * jnp.sum(k[:, 0]) * (j[None, :] % 2) * jnp.ones((i.shape[0], 1))
'''


@pytest.fixture
def only_causality(monkeypatch):
    """The check reduced to one property, so that a test takes a second."""
    only = dataclasses.replace(checks.SCORED, levels={"quick": ("causality",)})
    monkeypatch.setattr(checks, "FAMILIES", ((object, only),))


def test_a_file_that_fails_ends_with_its_code_and_names_what_failed(
    tmp_path, monkeypatch, capsys, only_causality
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(BROKEN)
    assert main(["check", "mine.py:LooksAhead"]) == 6
    printed = capsys.readouterr()
    assert "FAIL  causality, reference" in printed.out
    assert printed.err.startswith("error: mine.py:LooksAhead fails: causality in reference")
    assert main(["check", "mine.py:LooksAhead", "strength=0.0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["name"] == "LooksAhead" and found["level"] == "quick"
    assert {cell["property"] for cell in found["cells"] if "error" in cell} == {"causality"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["alibbi"], "did you mean 'alibi'?"),
        (["window", "bak=3"], "command line: bak = 3: no such option of window; did you mean 'back'?"),
        (
            ["attention", "mask=window", "mask.back=-1"],
            "command line: mask.back = -1: should be greater than",
        ),
        (["number_words"], "no such name"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(capsys, words, said):
    assert main(["check", *words]) == 2
    assert said in capsys.readouterr().err


def test_options_reach_the_object():
    thing = resolve.made("attention", ["mask=window", "mask.back=5", 'position=["alibi"]'], BASES)
    assert thing.mask.back == 5 and type(thing.position[0]).__name__ == "Alibi"
    with pytest.raises(ConfigError, match="not a Score"):
        resolve.node("attnkit.tasks.number_words:NumberWords", [], BASES)


def test_help_does_not_import_jax():
    code = (
        "import sys\nfrom attnkit.experiment.cli import main\nmain(['check', '--help'])\nmain(['--help'])\n"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["--brief"], ["output 71", "differences 71"]),
        ([], [f"{name} 71" for name in approximate.CHECKS]),
        (["--full"], [f"{name} {tokens}" for tokens in (71, 67) for name in approximate.CHECKS]),
    ],
)
def test_the_level_says_how_much_of_an_approximation_is_checked(monkeypatch, capsys, words, asked):
    done = []

    def noted(name):
        def run(bench):
            done.append(f"{name} {bench.widths.tokens}")
            yield Finding(name, "parallel", 0.0, 1.0, "")

        return run

    suite = dataclasses.replace(checks.APPROXIMATE, checks={name: noted(name) for name in approximate.CHECKS})
    monkeypatch.setattr(checks, "FAMILIES", ((object, suite),))
    assert main(["check", "fnet", *words]) == 0
    assert done == asked and "output" in capsys.readouterr().out


MINE = '''
from attnkit.masks.contract import Mask
from attnkit.option_class import options

@options
class Twice(Mask):
    """What another mask says of places twice as far along."""

    mask: Mask

    def allows(self, i, j, data):
        return self.mask.allows(2 * i, 2 * j, data)
'''


def test_a_mask_that_needs_others_is_checked_with_those_it_names(tmp_path, monkeypatch, capsys):
    assert main(["check", "all_of", "--brief"]) == 0
    printed = capsys.readouterr().out
    assert "AllOf with masks = (Window(back=11, ahead=3), Dilated(step=2))" in " ".join(printed.split())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    assert main(["check", "mine.py:Twice", "--brief"]) == 2
    assert "mask: required: " in capsys.readouterr().err
    assert main(["check", "mine.py:Twice", "mask=window", "mask.back=3", "--json", "--brief"]) == 0
    found = {cell["property"]: cell for cell in json.loads(capsys.readouterr().out)["cells"]}
    assert found["empty missed"]["error"] == 1 and found["algebra"]["ok"]
