"""Every block of the README, run in order as a newcomer would paste it, with fewer training steps."""

import re
import shlex
from pathlib import Path

import pytest

from attnkit.experiment import cli

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:as `([\w./]+)`:\n\n)?```(python|sh|toml)\n(.*?)```", README, re.S)


def test_it_fits_on_three_screens():
    assert len(README.splitlines()) <= 150


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]


def commands(block):
    """The words of each attnkit command of a block."""
    joined = block.replace("\\\n", " ")
    return [
        words[1:] for line in joined.splitlines() if (words := shlex.split(line, True))[:1] == ["attnkit"]
    ]


def test_every_block_runs_in_order(tmp_path, monkeypatch, capsys):
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for saved_as, language, block in BLOCKS:
        if saved_as:
            (tmp_path / saved_as).write_text(block, encoding="utf-8")
        elif language == "python":
            exec(compile(block, "README.md", "exec"), {})
        elif language == "sh":
            for words in commands(block):
                if words[0] == "compare":  # its sweep was not run
                    continue
                more = {
                    "train": ["training.steps=8", "--quiet"],
                    "sweep": ["--dry-run"],
                    "check": ["--brief"],
                }.get(words[0], [])
                code = cli.main([*words, *more])
                if code:
                    pytest.fail(f"attnkit {shlex.join(words)}: exit {code}: {capsys.readouterr().err}")


def test_the_blocks_of_coming_from_run_in_order():
    text = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), {})
