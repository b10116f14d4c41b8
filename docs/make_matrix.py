"""Write docs/conformance.md: `python docs/make_matrix.py [--again] [--level quick] [NAME ...]`.

Every variant is checked in a process of its own, minutes each. What was found is kept in `docs/.matrix/` by
variant, with the hash of the variant's file, so that a run that was interrupted goes on where it stopped;
`--again` checks the named variants (or all) once more, which is needed after a change of the engine.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from attnkit.experiment import cards, catalogue, costs

HERE = Path(__file__).parent
KEPT = HERE / ".matrix"
BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "Mixer")
LONGEST = 3600

INTRODUCTION = """# What was checked

Every variant of the catalogue in every form, written by `python docs/make_matrix.py` from what
`attnkit.conformance.check` found at level "{level}". A cell says whether the property holds, and the worst
number seen; under each table stand the cells about which nothing is claimed, and why. {good} of {count}
variants pass everything that they claim.
"""


def everything() -> list[catalogue.Entry]:
    """All variants that can be checked."""
    return [entry for base in BASES if base in catalogue.FOLDERS for entry in catalogue.catalogue(base)]


def place_of(entry: catalogue.Entry, level: str) -> Path:
    """Where what was found of a variant is kept."""
    digest = hashlib.sha256(entry.source.file.read_bytes()).hexdigest()[:12]
    return KEPT / f"{entry.base}.{entry.kind}.{level}.{digest}.json"


def find_out(entry: catalogue.Entry, level: str) -> dict[str, Any]:
    """Check one variant in another process."""
    command = [sys.executable, __file__, "--one", entry.module, entry.source.name, "--level", level]
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return {"ok": False, "text": f"not finished after {LONGEST} s", "seconds": LONGEST}
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not last.startswith("{"):
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"ok": False, "text": f"could not be checked: {why}", "seconds": time.monotonic() - started}
    found: dict[str, Any] = json.loads(last)
    return {**found, "seconds": time.monotonic() - started}


def check_one(module: str, name: str, level: Any) -> None:
    """Check one variant here and print what was found as JSON."""
    import importlib

    from attnkit.conformance import check

    matrix = check(getattr(importlib.import_module(module), name), level=level)
    text = "\n".join(matrix.markdown().splitlines()[2:])
    print(json.dumps({"ok": matrix.ok, "text": text, "failures": matrix.failures()}))


def page(found: dict[str, dict[str, Any]], level: str) -> str:
    """The page as Markdown."""
    entries: dict[str, list[catalogue.Entry]] = {}
    for entry in everything():
        entries.setdefault(entry.base, []).append(entry)
    good = sum(one["ok"] for one in found.values())
    lines = [INTRODUCTION.format(level=level, good=good, count=len(found))]
    for name, some in cards.families(entries).items():
        lines += [f"## {name}", ""]
        for entry in some:
            one = found.get(f"{entry.base}.{entry.kind}")
            if one is not None:
                lines += [f"### {entry.kind}{'' if one['ok'] else ': FAILS'}", "", one["text"].strip(), ""]
    return "\n".join(lines)


def main() -> int:
    """Check what was not checked yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds to check; all if none")
    parser.add_argument("--level", choices=("brief", "quick", "full"), default="full")
    parser.add_argument("--again", action="store_true", help="check again what is kept")
    parser.add_argument("--one", nargs=2, metavar=("MODULE", "CLASS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        check_one(*chosen.one, chosen.level)
        return 0
    KEPT.mkdir(exist_ok=True)
    found = {}
    for entry in everything():
        kept, named = place_of(entry, chosen.level), not chosen.names or entry.kind in chosen.names
        if named and (chosen.again or not kept.is_file()):
            result = find_out(entry, chosen.level)
            kept.write_text(json.dumps(result), encoding="utf-8")
            state = "ok" if result["ok"] else "FAILS"
            print(f"{costs.family(entry)} {entry.kind}: {state}, {result['seconds']:.0f} s", flush=True)
        if kept.is_file():
            found[f"{entry.base}.{entry.kind}"] = json.loads(kept.read_text(encoding="utf-8"))
    place = HERE / "conformance.md"
    place.write_text(page(found, chosen.level), encoding="utf-8")
    bad = [name for name, one in found.items() if not one["ok"]]
    print(f"wrote {place}: {len(found)} variants" + (f", {len(bad)} fail: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
