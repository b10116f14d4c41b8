"""Hooks of the site: configs and studies that pages link to lie beside the pages."""

import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **page: Any) -> str:
    """Links to the folder of a study lead to its README."""
    return re.sub(r"\]\(\.\./(experiments/\w+)\)", r"](../\1/README.md)", markdown)


def on_post_build(config: Any) -> None:
    """Copy what pages link to."""
    for name in ("configs", "experiments"):
        shutil.copytree(
            ROOT / name,
            Path(config.site_dir) / name,
            ignore=shutil.ignore_patterns("__pycache__", "runs"),
            dirs_exist_ok=True,
        )
