"""The tasks as a page: what each is about, an example, its picture, and a config to train on it."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attnkit.errors import AttnkitError
from attnkit.experiment import catalogue
from attnkit.experiment.catalogue_page import cell
from attnkit.inspection.palette import png
from attnkit.inspection.writing import cut
from attnkit.tasks.contract import Example, Task

INTRODUCTION = """# Tasks

What a network can be trained on, written by `python docs/make_catalogue.py` from the source files, with the
first example of each task with its default options. `attnkit tasks NAME` shows the options, `attnkit data
CONFIG` ten examples and what is suspicious. [Data of your own](own_data.md) says which files can be read.

| task | what | read | to write | config |
| --- | --- | --- | --- | --- |"""
#: pixels along the longer side of a picture, at least
LARGE = 144


def page(configs: Path) -> tuple[str, dict[str, bytes]]:
    """The page as Markdown, and its pictures by file name. `configs` is the folder of shipped configs."""
    trained = dict(configs_of(configs))
    rows, pictures = [], {}
    for entry in catalogue.catalogue("Task"):
        example, drawn = first(entry)
        read, write = (f"`{cut(' '.join(text.split()), 60, 30)}`" if text else "" for text in said(example))
        if drawn is not None:
            pictures[f"{entry.kind}.png"] = png(drawn)
            read = f"![picture](pictures/tasks/{entry.kind}.png)"
        file = trained.get(entry.kind)
        config = f"[{file.stem}](../configs/{file})" if file else ""
        cells = (f"`{entry.kind}`", entry.summary, read, write, config)
        rows.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join([INTRODUCTION, *rows, ""]), pictures


def configs_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Task and path of every shipped config, the one that is named like the task last."""
    found = []
    for file in sorted(folder.rglob("*.toml")):
        kind = re.search(r'^\[task\]\s+kind = "(\w+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
        if kind and file.parent.name != "sweeps":
            found.append((kind[1], file.relative_to(folder)))
    yield from sorted(found, key=lambda one: one[0] == one[1].stem)


def first(entry: catalogue.Entry) -> tuple[Example | None, np.ndarray | None]:
    """The first held-out example of a task and its picture; `None` for what there is not."""
    if any(field.default is catalogue.REQUIRED for field in entry.fields):
        return None, None
    task: Task = entry.cls()
    try:
        data = task.load()
    except AttnkitError:
        return None, None
    found = data.examples(data.splits[0], 1)
    image = data.picture(found[0]) if found else None
    if image is None:
        return (found[0] if found else None), None
    levels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    times = max(1, -(-LARGE // max(levels.shape[:2])))
    return found[0], levels.repeat(times, axis=0).repeat(times, axis=1)


def said(example: Example | None) -> tuple[str, str]:
    """Text that is read, and text to be written."""
    return (example.prompt, example.answer) if example is not None else ("", "")
