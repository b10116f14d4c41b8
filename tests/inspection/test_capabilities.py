"""The table of capabilities names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_row_has_a_test_that_exists():
    page = (ROOT / "docs" / "inspection.md").read_text(encoding="utf-8")
    table = page.partition("| capability |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) >= 20
    for row in table:
        file, name = re.search(r"\| `([\w/]+\.py)::(\w+)` \|$", row).groups()
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), row
