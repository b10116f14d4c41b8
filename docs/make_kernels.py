"""Write docs/kernels.md: `python docs/make_kernels.py [--again] [--lowering-only] [NAME ...]`.

No device is needed. What was found is kept in `docs/.matrix/kernels.json`, so that a run that was interrupted
goes on where it stopped; `--again` finds it once more, which is needed after a change of the engine.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax

from attnkit.conformance.kernels import kernel_errors
from attnkit.conformance.subject import make_subject
from attnkit.experiment import cards, catalogue, costs
from attnkit.forms.pallas.gaps import lowering_gap
from attnkit.forms.scored import pallas
from attnkit.forms.sizes import Sizes
from attnkit.scored.contract import Preset

HERE = Path(__file__).parent
KEPT = HERE / ".matrix" / "kernels.json"
BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer")
LIMITS = {"output": 1e-12, "lse": 1e-12, "vjp": 1e-10, "jvp": 1e-10, "hvp": 1e-10}
COMPILERS = {"gpu": "CUDA", "tpu": "TPU"}

INTRODUCTION = """# Fused kernels

`implementation = "pallas"` computes every pass over the keys as one kernel. Kernels are derived from the
definition of a variant, with their derivatives; none is written for a variant. This page was written by
`python docs/make_kernels.py` with jax {version} on a CPU. **Nothing here was measured on a device**: no
speed, no memory, and not whether a device computes what the interpreter computes.

- **interpreted**: the largest error of the kernels, run operation by operation in float64 with blocks of
  5 x 4, against the definition: output and log-sum-exp / gradient, forward mode and forward over reverse
  (of masks, the gradient alone). {good} of {tried} variants that were interpreted are within 1e-12 / 1e-10;
  {rest} more with kernels were only lowered.
- **CUDA**, **TPU**: whether the kernels are lowered for a GPU (Triton) or a TPU (Mosaic) in float32, heads of
  width 64, blocks of 64 x 64 or 128 x 128: *forward* alone, or *gradient* as well. Lowering is the
  translation into the compiler's own language; the compilers behind it did not run. A GPU's
  kernels need widths that are powers of two. Sequences were of 127 or 255 tokens: what a selection remembers
  of a row may grow with the length (`moba`), and then be no power of two.

| platform | variants with kernels | gradient lowered |
| --- | --- | --- |
{counts}

Without kernels are variants whose blocks depend on one another; `auto` computes them, and those with a gap
below, by loops of XLA, and `attnkit.forms.explain` says so.
"""


def name_of(entry: catalogue.Entry) -> str:
    """The key under which a variant is kept."""
    return f"{entry.base}.{entry.kind}"


def everything() -> list[catalogue.Entry]:
    """All variants of scored attention, and the parts of one."""
    entries = [entry for base in BASES for entry in catalogue.catalogue(base)]
    return [one for one in entries if one.base != "TokenMixer" or issubclass(one.cls, Preset)]


def find_out(entry: catalogue.Entry, lowering_only: bool) -> dict[str, Any]:
    """What is found of a variant."""
    try:
        subject = make_subject(entry.cls(**costs.required_options(entry)))
    except (TypeError, ValueError) as error:
        return {"absent": " ".join(str(error).split())}
    sizes = subject.sizes
    asked = Sizes(sizes.queries, sizes.keys, sizes.offset)
    if reason := pallas.supports(subject.scored, asked, "cpu"):
        return {"absent": reason}
    found: dict[str, Any] = {}
    for platform in COMPILERS:
        given = (subject.scored, platform, None, pallas.BLOCKS[platform])
        gap = lowering_gap(*given)
        found[platform] = {"gap": gap, "forward": gap is None or lowering_gap(*given, gradient=False) is None}
    if not lowering_only:
        try:
            found["errors"] = kernel_errors(subject.scored, "gradient" if entry.base == "Mask" else "all")
        except (TypeError, ValueError) as error:
            found["unchecked"] = " ".join(str(error).split())
    return found


def page(found: dict[str, dict[str, Any]]) -> str:
    """The page as Markdown."""
    entries: dict[str, list[catalogue.Entry]] = {}
    for entry in everything():
        if name_of(entry) in found:
            entries.setdefault(entry.base, []).append(entry)
    have = [one for one in found.values() if "absent" not in one]
    checked = [one["errors"] for one in have if "errors" in one]
    good = sum(all(error <= LIMITS[name] for name, error in one.items()) for one in checked)
    counts = []
    for platform, title in COMPILERS.items():
        lowered = sum(one[platform]["gap"] is None for one in have)
        counts.append(f"| {title} | {len(have)} | {lowered} ({100 * lowered // max(1, len(have))} %) |")
    lines = [
        INTRODUCTION.format(
            version=jax.__version__,
            good=good,
            tried=len(checked),
            rest=len(have) - len(checked),
            counts="\n".join(counts),
        )
    ]
    for title, some in cards.families(entries).items():
        lines += [f"## {title}", "", "| variant | interpreted | CUDA | TPU |", "| --- | --- | --- | --- |"]
        lines += [row(entry.kind, found[name_of(entry)]) for entry in some]
        lines += ["", *reasons([(entry.kind, found[name_of(entry)]) for entry in some]), ""]
    return "\n".join(lines)


def row(kind: str, one: dict[str, Any]) -> str:
    """The row of a variant."""
    if "absent" in one:
        return f"| {kind} | no kernels | | |"
    cells = [errors(one)]
    for platform in COMPILERS:
        gap, forward = one[platform]["gap"], one[platform]["forward"]
        cells.append("gradient" if gap is None else "forward" if forward else "-")
    return f"| {kind} | {' | '.join(cells)} |"


def errors(one: dict[str, Any]) -> str:
    """The largest errors of the forward pass and of derivatives."""
    if "errors" not in one:
        return "not checked"
    found = one["errors"]
    worst = [
        max(error for name, error in found.items() if (name in ("output", "lse")) == forward)
        for forward in (True, False)
    ]
    text = " / ".join(f"{error:.0e}" for error in worst)
    return text if all(found[name] <= LIMITS[name] for name in found) else f"**{text}**"


def reasons(some: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """A line for each gap."""
    lines = []
    for kind, one in some:
        for name, why in (("", one.get("absent")), (": not checked", one.get("unchecked"))):
            lines += [f"- {kind}{name}: {why}"] if why else []
        for platform, title in COMPILERS.items():
            if (gap := one.get(platform, {}).get("gap")) is not None:
                lines.append(f"- {kind}, {title}: {gap}")
    return lines


def main() -> int:
    """Find out what is not known, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds; all if none")
    parser.add_argument("--again", action="store_true", help="find out again what is kept")
    parser.add_argument("--lowering-only", action="store_true", help="leave out the interpreted kernels")
    chosen = parser.parse_args()
    found = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    KEPT.parent.mkdir(exist_ok=True)
    for entry in everything():
        old = found.get(name_of(entry))
        if chosen.names and entry.kind not in chosen.names:
            continue
        if old and not chosen.again and (chosen.lowering_only or "errors" in old or "gpu" not in old):
            continue
        found[name_of(entry)] = find_out(entry, chosen.lowering_only)
        KEPT.write_text(json.dumps(found), encoding="utf-8")
        print(name_of(entry), found[name_of(entry)], flush=True)
    (HERE / "kernels.md").write_text(page(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
