"""`docs/conformance.md` was made for the definitions as they are."""

import re
from pathlib import Path

from attnkit.conformance.digest import code, digest
from attnkit.experiment import catalogue
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer")


def test_every_variant_was_checked_as_it_is_now():
    rows = dict(re.findall(r"^\| (\w+)[^|]*\|.*\| ([0-9a-f]{8}) \|$", PAGE.read_text(encoding="utf-8"), re.M))
    entries = [entry for base in BASES for entry in catalogue.catalogue(base)]
    stale = sorted(entry.kind for entry in entries if rows.get(entry.kind) != digest(entry.cls))
    assert not stale, f"run `python docs/make_matrix.py --level quick {' '.join(stale)}`"


def test_a_digest_is_of_the_code_and_not_of_its_prose(tmp_path):
    assert digest(Causal) == digest(Causal) != digest(Window)
    one, same, other = (tmp_path / name for name in ("one.py", "same.py", "other.py"))
    one.write_text('"""Prose."""\n\ndef f(x):\n    """More."""\n    # why\n    return x\n')
    same.write_text("def f(x):\n    return x\n")
    other.write_text("def f(x):\n    return 2 * x\n")
    assert code(one) == code(same) != code(other)
