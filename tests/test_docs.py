"""The site is built without a warning, and every page is in its navigation."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    pages = [str(path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs").rglob("*.md"))]
    assert not [page for page in pages if f": {page}" not in navigation]


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="needs the docs extra")
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]


def tutorials():
    """Files of tutorials; one trains 15 networks, each of five kinds compiled anew."""
    for path in sorted((ROOT / "docs" / "tutorials").glob("*.py")):
        yield pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem == "4_comparing" else ())


@pytest.mark.one_python
@pytest.mark.parametrize("path", tutorials())
def test_a_tutorial_runs(path, monkeypatch):
    """With few training steps: it is a page, not a measurement."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    text = re.sub(r"\b300\b", "3", path.read_text(encoding="utf-8"))
    exec(compile(text, path.name, "exec"), {"__name__": "tutorial"})
