"""Write docs/conformance.md: `python docs/make_matrix.py [--again] [--level brief] [--workers 2] [NAME ...]`.

Variants are checked in worker processes that share what they compile. What was found is kept in
`docs/.matrix/` by variant, with the digest of its definition, so that a run that was interrupted goes on
where it stopped; `--again` checks the named variants (or all) once more, which is needed after a change of
the engine.
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attnkit.conformance.digest import digest
from attnkit.experiment import cards, catalogue, costs

HERE = Path(__file__).parent
KEPT = HERE / ".matrix"
BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer")
TOGETHER = 8  # variants that share a process

INTRODUCTION = """# What was checked

Every variant of the catalogue, written by `python docs/make_matrix.py --level {level}` from what
`attnkit.conformance.check` found at that level; `attnkit check NAME` prints one form by form.
A cell is the error nearest to its limit, of all forms and comparisons: **bold** if it is beyond the limit,
`-` if nothing is claimed of any form. The last column is the digest of the definition that was checked: a
test fails when the variant is another now. Under each table stand the forms about which nothing is claimed.
{good} of {count} variants pass everything that they claim, {compared:,} comparisons in all.

## Fused kernels

By platform and level, and the reason of every gap; [kernels.md](kernels.md) has a row for each variant, and
says what the levels are and which rows are of the code as it is. Nothing was measured on a device.

{kernels}
"""
MASKS = """\
Every pair of 53 positions (211 where options are larger), under four draws of run-time data where a mask
reads some, against what its cover says of blocks of many shapes, from several first queries and keys; then
attention by blocks through the mask, float64, against the definition with a table of pairs. Small options
stand for the defaults, so that all of a mask fits in. **Empty (full) blocks found**: of the blocks of at
least two rows and columns that are empty (full) under every draw and in every head, the share that the cover
proves, rounded down. The cover must hold for any run-time data: what is so under four draws by chance counts
against it. Of the other columns, those before `output` count pairs, blocks or names that are wrong.
"""
SHARE = " missed"  # rows whose error is the share of blocks that are not found


def everything() -> list[catalogue.Entry]:
    """All variants that can be checked."""
    return [entry for base in BASES if base in catalogue.FOLDERS for entry in catalogue.catalogue(base)]


def place_of(entry: catalogue.Entry, level: str) -> Path:
    """Where what was found of a variant is kept."""
    return KEPT / f"{entry.base}.{entry.kind}.{level}.{digest(entry.cls)}.facts.json"


def find_out(entries: list[catalogue.Entry], level: str) -> Iterator[tuple[catalogue.Entry, dict[str, Any]]]:
    """Check some variants in one other process, and give what was found of each as soon as it is known."""
    names = [f"{entry.module}:{entry.name}" for entry in entries]
    command = [sys.executable, __file__, "--checked", "--level", level, *names]
    shared = {
        "JAX_COMPILATION_CACHE_DIR": str(KEPT / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    started, pipe = time.monotonic(), subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env={**shared, **os.environ}
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        left = iter(entries)
        for line in process.stdout:
            yield next(left), {**json.loads(line), "seconds": time.monotonic() - started}
            started = time.monotonic()
        failed = next(left, None)
        if failed is not None:
            why = (process.stderr.read().strip().splitlines() or ["no reason was given"])[-1]
            yield failed, {"ok": False, "cells": [], "failures": [f"no check: {why}"], "seconds": 0.0}


def check_there(entries: list[catalogue.Entry], level: str) -> None:
    """Check some variants in another process and keep what was found, until each was tried."""
    waiting = list(entries)
    while waiting:
        for entry, result in find_out(waiting, level):
            result["digest"] = digest(entry.cls)
            place_of(entry, level).write_text(json.dumps(result), encoding="utf-8")
            state = "ok" if result["ok"] else "FAILS"
            print(f"{costs.family(entry)} {entry.kind}: {state}, {result['seconds']:.0f} s", flush=True)
            waiting = [one for one in waiting if one is not entry]


def check_here(names: list[str], level: Any) -> None:
    """Check variants here and print what was found of each as a line of JSON."""
    import importlib

    from attnkit.conformance import check

    for name in names:
        module, _, of = name.partition(":")
        matrix = check(getattr(importlib.import_module(module), of), level=level)
        print(json.dumps({**matrix.facts(), "failures": [*matrix.errors, *matrix.failures()]}), flush=True)


def page(found: dict[str, dict[str, Any]], level: str) -> str:
    """The page as Markdown."""
    entries: dict[str, list[catalogue.Entry]] = {}
    for entry in everything():
        if f"{entry.base}.{entry.kind}" in found:
            entries.setdefault(entry.base, []).append(entry)
    good = sum(one["ok"] for one in found.values())
    compared = sum(cell["comparisons"] for one in found.values() for cell in one["cells"])
    given = {"level": level, "good": good, "count": len(found), "compared": compared}
    lines = [INTRODUCTION.format(**given, kernels=kernel_levels())]
    for name, some in cards.families(entries).items():
        family = {entry.kind: found[f"{entry.base}.{entry.kind}"] for entry in some}
        told = [MASKS] if name == "Mask" else []
        lines += [f"## {name}", "", *told, *table(family), "", *unclaimed(family), ""]
    return "\n".join(lines)


def kernel_levels() -> str:
    """The table of levels of `docs/kernels.md` with the gaps below it."""
    text = (HERE / "kernels.md").read_text(encoding="utf-8")
    found = re.search(r"^\| platform \| variants with kernels .*?(?=\n\nWithout kernels)", text, re.M | re.S)
    assert found, "docs/kernels.md has no table of levels; run docs/make_kernels.py"
    return found.group()


def table(family: dict[str, dict[str, Any]]) -> list[str]:
    """A row for each variant, a column for each property."""
    properties = list(dict.fromkeys(cell["property"] for one in family.values() for cell in one["cells"]))
    shown = [name.replace(SHARE, " blocks found") for name in properties]
    lines = [f"| variant | {' | '.join(shown)} | digest |", "|" + " --- |" * (len(properties) + 2)]
    for kind, one in family.items():
        shown = [worst([cell for cell in one["cells"] if cell["property"] == name]) for name in properties]
        state = "" if one["ok"] else " **fails**"
        options = one["name"].partition(" with ")[2] if "name" in one else ""
        title = f"{kind}: {options}" if options else kind
        lines.append(f"| {title}{state} | {' | '.join(shown)} | {one['digest']} |")
    failures = [f"- {kind} FAILS: {line}" for kind, one in family.items() for line in one.get("failures", [])]
    return lines + ([""] if failures else []) + failures


def worst(cells: list[dict[str, Any]]) -> str:
    """The error of a property that is nearest to its limit."""

    def share(cell: dict[str, Any]) -> float:
        error = float(cell["error"])
        return 0.0 if error == 0 else error / cell["limit"] if cell["limit"] else float("inf")

    found = [cell for cell in cells if "error" in cell]
    if not found:
        return "-"
    least = max(found, key=share)
    if least["property"].endswith(SHARE):
        return found_of(least)
    text = f"{float(least['error']):.0e}"
    return text if least["ok"] else f"**{text}**"


def found_of(cell: dict[str, Any]) -> str:
    """The share of blocks that were found, rounded down, and of how many."""
    found, there = (int(word) for word in re.findall(r"\d+", cell["where"]))
    return f"{found * 1000 // there / 10:g} % of {there:,}"


def unclaimed(family: dict[str, dict[str, Any]]) -> list[str]:
    """One line for each reason: properties and forms, and the variants that it is about if not all."""
    told: dict[str, dict[tuple[str, ...], dict[str, list[str]]]] = {}
    for kind, one in family.items():
        why: dict[tuple[str, str], list[str]] = {}
        for cell in one["cells"]:
            if "reason" in cell:
                why.setdefault((cell["reason"], cell["property"]), []).append(cell["form"])
        for (reason, name), found in why.items():
            told.setdefault(reason, {}).setdefault(tuple(found), {}).setdefault(name, []).append(kind)
    lines = []
    for reason, groups in told.items():
        parts = []
        for forms, names in groups.items():
            for kinds in dict.fromkeys(tuple(some) for some in names.values()):
                same = [name for name, some in names.items() if tuple(some) == kinds]
                only = "" if len(kinds) == len(family) else f" ({', '.join(kinds)})"
                parts.append(f"{', '.join(same)} of {', '.join(forms)}{only}")
        lines.append(f"- {reason}: {'; '.join(parts)}")
    return ["Nothing is claimed:", "", *lines] if lines else []


def main() -> int:
    """Check what was not checked yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds to check; all if none")
    parser.add_argument("--level", choices=("brief", "quick", "full"), default="full")
    parser.add_argument("--again", action="store_true", help="check again what is kept")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--checked", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.checked:
        check_here(chosen.names, chosen.level)
        return 0
    KEPT.mkdir(exist_ok=True)
    entries = everything()
    waiting = [
        entry
        for entry in entries
        if (not chosen.names or entry.kind in chosen.names)
        and (chosen.again or not place_of(entry, chosen.level).is_file())
    ]
    with ThreadPoolExecutor(chosen.workers) as pool:
        batches = [waiting[low : low + TOGETHER] for low in range(0, len(waiting), TOGETHER)]
        list(pool.map(check_there, batches, itertools.repeat(chosen.level)))
    found = {}
    for entry in entries:
        kept = place_of(entry, chosen.level)
        if kept.is_file():
            found[f"{entry.base}.{entry.kind}"] = json.loads(kept.read_text(encoding="utf-8"))
    place = HERE / "conformance.md"
    place.write_text(page(found, chosen.level), encoding="utf-8")
    bad = [name for name, one in found.items() if not one["ok"]]
    print(f"wrote {place}: {len(found)} variants" + (f", {len(bad)} fail: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
