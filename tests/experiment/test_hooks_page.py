"""The page about variants of one's own: its tables are those of the contracts, and its example runs."""

import re
from pathlib import Path

from attnkit.conformance import check
from attnkit.experiment import importing
from attnkit.experiment.hooks_page import CONTRACTS, PAGE, updated

TEXT = (Path(__file__).parents[2] / PAGE).read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_contracts():
    assert updated(TEXT) == TEXT, "run `python docs/make_hooks.py`"
    assert all(f"### `{contract.__name__}`\n" in TEXT for contract, _ in CONTRACTS)


def test_the_example_is_a_healthy_variant(tmp_path):
    (tmp_path / "near.py").write_text(re.search(r"```python\n(.*?)```", TEXT, re.S)[1])
    kind = importing.by_file(tmp_path / "near.py").Near
    matrix = check(kind(strength=0.5), only=frozenset({"translation"}))
    assert matrix.ok and not matrix.warnings, str(matrix)
