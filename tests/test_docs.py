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
    files = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.py")]
    pages = [str(path.relative_to(ROOT / "docs")) for path in sorted(files)]
    assert not [page for page in pages if f": {page}" not in navigation]


def test_every_link_of_a_page_leads_to_a_file_and_a_heading():
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", text):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            if heading:
                titles = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in {
                    re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles
                }


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="needs the docs extra: Python 3.11 in CI")
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]


def tutorials():
    """Files of tutorials; one trains 15 networks, each of five kinds compiled anew."""
    return [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem == "4_comparing" else ())
        for path in sorted((ROOT / "docs" / "tutorials").glob("*.py"))
    ]


@pytest.mark.one_python
@pytest.mark.parametrize("path", tutorials())
def test_a_tutorial_runs(path, monkeypatch):
    """With few training steps: it is a page, not a measurement."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    text = re.sub(r"\b300\b", "3", path.read_text(encoding="utf-8"))
    exec(compile(text, path.name, "exec"), {"__name__": "tutorial"})
