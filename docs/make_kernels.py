"""Write docs/kernels.md: `python docs/make_kernels.py [--again] [--lowering-only] [NAME ...]`.

`--compile FOLDER` compiles them, with the compilers in a folder: `pip install --no-deps --target FOLDER
libtpu jax-cuda12-pjrt==VERSION` of the installed JAX.

No device is needed. What was found is kept in `docs/.matrix` with the state of the code, so that a run that
was interrupted goes on where it stopped. What was found of other code is found once more; all if `--again`.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.conformance.compiled_kernels import compile_kernels
from attnkit.conformance.digest import code, digest
from attnkit.conformance.kernels import DRAWS, kernel_errors, kernel_excess
from attnkit.conformance.subject import make_subject
from attnkit.experiment import cards, catalogue, costs
from attnkit.forms import pallas as pallas_room
from attnkit.forms.pallas.gaps import lowering_gap
from attnkit.forms.scored import pallas
from attnkit.forms.sizes import Sizes
from attnkit.forms.tiling import shipped
from attnkit.jax_api import compile_only_devices
from attnkit.scored.contract import Preset

HERE = Path(__file__).parent
KEPT = HERE / ".matrix"
PAGE = HERE / "kernels.md"
BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer")
LIMITS = {"output": 1e-12, "lse": 1e-12, "vjp": 1e-10, "jvp": 1e-10, "hvp": 1e-10}
LOW = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
COMPILERS = {"gpu": "CUDA", "tpu": "TPU"}
BLOCKS = {name: (shipped("kernels", name).steps[0][0],) * 2 for name in COMPILERS}
TOKENS = 4095  # of the compiled kernels: padding is compiled, too

INTRODUCTION = """# Fused kernels

`implementation = "pallas"` computes every pass over the keys as one kernel. Kernels are derived from the
definition of a variant, with their derivatives; none is written for a variant. This page was written by
`python docs/make_kernels.py` with jax {version} on a CPU. **Nothing here was measured on a device**: no
speed, no memory, and not whether a device computes what the interpreter computes.
{state}

- **interpreted**: the largest error of the kernels, run operation by operation in float64 with blocks of
  5 x 4, against the definition: output and log-sum-exp / gradient, forward mode and forward over reverse
  (of masks, the gradient alone). {good} of {tried} variants that were interpreted are within 1e-12 / 1e-10;
  {rest} more with kernels were not interpreted.
- **float32**, **bfloat16**: likewise in low precision, output, log-sum-exp, gradient and forward mode, of
  {draws} draws: the largest error as a share of what is allowed, which is twice that of the definition in
  the same type and one unit of rounding (`attnkit.conformance.measure.excess`). {low_good} of {low_tried}
  variants that were tried are at most 1 in both; one above that is in bold.
- **CUDA**, **TPU**: whether the kernels are lowered for a GPU (Triton) or a TPU (Mosaic) in float32, heads of
  width 64, blocks of 64 x 64 or 128 x 128, and, after the slash, compiled for an H100 or a TPU v5e in
  bfloat16 (*Compiled* below has memory and registers): *forward* alone, *gradient* as well, or neither (-).
  On a GPU every shape grows to powers of two, so that any width will do.

*All levels* counts variants that are within the limits in float64, whose gradient is lowered, and whose
gradient is compiled; what was not tried does not count. **Measured on a device: none.**

| platform | variants with kernels | interpreted | gradient lowered | gradient compiled | all levels |
| --- | --- | --- | --- | --- | --- |
{counts}

{gaps}

Without kernels are variants whose blocks depend on one another; `auto` computes them, and those with a gap
below, by loops of XLA, and `attnkit.forms.explain` says so. [accelerators.md](accelerators.md) has the other
kernels: those of vendors, and that of recurrences.
"""

COMPILED = "## Compiled"
COMPILED_INTRODUCTION = """
Written by `python docs/make_kernels.py --compile FOLDER` with jax {version}, by the compilers for an H100
(ptxas for sm_90a included) and a TPU v5e on a machine that has neither. **Nothing here ran on a device.**
Sequences of {tokens:,} tokens in bfloat16, {heads} heads (or as many as the mask tells apart) of width 64,
blocks of {gpu} and {tpu}; the gradient of everything, with the forward pass in it. Where that does not
compile, the forward pass alone was tried.

- **memory**: MiB beside arguments and results. The weights as a matrix would be {dense} MiB in float32.
- **registers**: of a thread, of the kernel of the forward pass and the largest of the others; at most 255.
- **spilled**: bytes of registers that a thread of the worst kernel keeps in memory, which costs speed.

| platform | variants tried | gradient compiled | without spills |
| --- | --- | --- | --- |
{counts}

| variant | H100 | memory | registers | spilled | TPU v5e | memory |
| --- | --- | --- | --- | --- | --- | --- |
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
        given = (subject.scored, platform, None, BLOCKS[platform])
        gap = lowering_gap(*given)
        found[platform] = {"gap": gap, "forward": gap is None or lowering_gap(*given, gradient=False) is None}
    if not lowering_only:
        try:
            found["errors"] = kernel_errors(subject.scored, "gradient" if entry.base == "Mask" else "all")
        except (TypeError, ValueError) as error:
            found["unchecked"] = " ".join(str(error).split())
        else:
            found["low"] = {name: kernel_excess(subject.scored, kind) for name, kind in LOW.items()}
    return found


def state(entry: catalogue.Entry) -> str:
    """A number that changes with the code of the kernels and of the definition, without prose."""
    texts = [code(file) for file in sorted(Path(pallas_room.__file__).parent.glob("*.py"))]
    return hashlib.sha256("".join([*texts, digest(entry.cls)]).encode()).hexdigest()[:8]


def page(found: dict[str, dict[str, Any]], compiled: dict[str, dict[str, Any]]) -> str:
    """The page as Markdown."""
    entries: dict[str, list[catalogue.Entry]] = {}
    for entry in everything():
        if name_of(entry) in found:
            entries.setdefault(entry.base, []).append(entry)
    have = {name: one for name, one in found.items() if "absent" not in one}
    checked = [one for one in have.values() if "errors" in one]
    low = [one["low"] for one in have.values() if "low" in one]
    lines = [
        INTRODUCTION.format(
            version=jax.__version__,
            good=sum(map(is_exact, checked)),
            tried=len(checked),
            rest=len(have) - len(checked),
            low_good=sum(max(max(one.values()) for one in both.values()) <= 1 for both in low),
            low_tried=len(low),
            draws=DRAWS,
            state=told_state(found, compiled),
            gaps="\n".join(gap_lines(have, compiled)),
            counts="\n".join(count_line(platform, have, compiled) for platform in COMPILERS),
        )
    ]
    for title, some in cards.families(entries).items():
        lines += [f"## {title}", "", "| variant | interpreted | float32 | bfloat16 | CUDA | TPU |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        lines += [row(entry, found, compiled) for entry in some]
        lines += ["", *reasons([(entry.kind, found[name_of(entry)]) for entry in some]), ""]
    return "\n".join(lines)


def told_state(found: dict[str, Any], compiled: dict[str, Any]) -> str:
    """How much was found of code that is another now."""
    rows = [marks(entry, found, compiled) for entry in everything() if name_of(entry) in found]
    if not any(rows):
        return "Every row is of the code as it is."
    told = f"{rows.count('')} of {len(rows)} rows are of the code as it is. `*` marks errors in float64 and"
    return f"{told} lowering\nof the code before, `+` its compilation; low precision is of the code as it is."


def marks(entry: catalogue.Entry, found: dict[str, Any], compiled: dict[str, Any]) -> str:
    """`*` if errors in float64 and lowering are of other code, `+` if the compilation is."""
    name, now = name_of(entry), state(entry)
    both = (("*", found.get(name)), ("+", compiled.get(name)))
    return "".join(mark for mark, one in both if one and one.get("state") != now)


def gap_lines(have: dict[str, Any], compiled: dict[str, Any]) -> list[str]:
    """For each platform, the variants whose gradient is not lowered or not compiled, by reason."""
    lines = []
    for platform, title in COMPILERS.items():
        why: dict[str, list[str]] = {}
        for name, one in have.items():
            made = compiled.get(name, {}).get(platform)
            gap = one[platform]["gap"] or (made.get("gap") if made else "not compiled yet")
            if gap:
                why.setdefault(gap, []).append(name.partition(".")[2])
        lines += [f"- {title}, {', '.join(kinds)}: {gap}" for gap, kinds in why.items()]
    return lines


def is_exact(one: dict[str, Any]) -> bool:
    """Whether interpreted kernels were within the limits."""
    return "errors" in one and all(error <= LIMITS[name] for name, error in one["errors"].items())


def count_line(platform: str, have: dict[str, Any], compiled: dict[str, Any]) -> str:
    """How many variants reach each level on a platform."""
    levels = [
        (
            is_exact(one),
            one[platform]["gap"] is None,
            compiled.get(name, {}).get(platform, {}).get("compiled") == "gradient",
        )
        for name, one in have.items()
    ]
    counts = [*(sum(column) for column in zip(*levels, strict=True)), sum(map(all, levels))]
    cells = [f"{n} ({100 * n // max(len(have), 1)} %)" for n in counts]
    return f"| {COMPILERS[platform]} | {len(have)} | {' | '.join(cells)} |"


def row(entry: catalogue.Entry, found: dict[str, Any], compiled: dict[str, Any]) -> str:
    """The row of a variant."""
    name, title = name_of(entry), f"{entry.kind} {marks(entry, found, compiled)}".strip()
    one = found[name]
    if "absent" in one:
        return f"| {title} | no kernels | | | | |"
    cells = [errors(one), *(low_error(one, name) for name in LOW)]
    for platform in COMPILERS:
        gap, forward = one[platform]["gap"], one[platform]["forward"]
        lowered = "gradient" if gap is None else "forward" if forward else "-"
        made = compiled.get(name, {}).get(platform)
        cells.append(f"{lowered} / {made.get('compiled', '-') if made else 'not tried'}")
    return f"| {title} | {' | '.join(cells)} |"


def low_error(one: dict[str, Any], name: str) -> str:
    """The largest error in low precision, as a share of what is allowed."""
    if name not in one.get("low", {}):
        return "not tried"
    worst = max(one["low"][name].values())
    return f"{worst:.2f}" if worst <= 1 else f"**{worst:.2f}**"


def errors(one: dict[str, Any]) -> str:
    """The largest errors of the forward pass and of derivatives."""
    if "errors" not in one:
        return "not tried"
    found = one["errors"]
    worst = [
        max(error for name, error in found.items() if (name in ("output", "lse")) == forward)
        for forward in (True, False)
    ]
    text = " / ".join(f"{error:.0e}" for error in worst)
    return text if all(found[name] <= LIMITS[name] for name in found) else f"**{text}**"


def reasons(some: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """A line for each variant without kernels, and each that was not checked."""
    lines = []
    for kind, one in some:
        for name, why in (("", one.get("absent")), (": not checked", one.get("unchecked"))):
            lines += [f"- {kind}{name}: {why}"] if why else []
    return lines


def compile_one(entry: catalogue.Entry, devices: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The kernels of a variant as compiled; for a platform that is known, as known."""
    try:
        subject = make_subject(entry.cls(**costs.required_options(entry)))
    except (TypeError, ValueError) as error:
        return {"absent": " ".join(str(error).split())}
    sizes = subject.sizes
    if reason := pallas.supports(subject.scored, Sizes(sizes.queries, sizes.keys, sizes.offset), "cpu"):
        return {"absent": reason}
    found = dict(known)
    for platform, device in devices.items():
        if platform in known:
            continue
        one: dict[str, Any] = {}
        for depth in ("gradient", "forward"):
            made = compile_kernels(subject.scored, platform, device, TOKENS, depth == "gradient")
            if not isinstance(made, str):
                one |= {"compiled": depth, **dataclasses.asdict(made)}
                break
            one.setdefault("gap", made)
        found[platform] = one
    return found


def compiled_part(found: dict[str, dict[str, Any]]) -> str:
    """The second part of the page as Markdown."""
    tried = [(e.kind, found[name_of(e)]) for e in everything() if name_of(e) in found]
    tried = [(kind, one) for kind, one in tried if "absent" not in one]
    counts = []
    for platform, title in (("gpu", "H100"), ("tpu", "TPU v5e")):
        some = [one[platform] for _, one in tried if platform in one]
        whole = [one for one in some if one.get("compiled") == "gradient"]
        share = f"{len(whole)} ({100 * len(whole) // max(1, len(some))} %)"
        known = [one for one in whole if one["spilled"]]
        clean = sum(not any(one["spilled"].values()) for one in known) if known else "not known"
        counts.append(f"| {title} | {len(some)} | {share} | {clean} |")
    blocks = {name: "{} x {}".format(*block) for name, block in BLOCKS.items()}
    given = {"version": jax.__version__, "tokens": TOKENS, "heads": 2, "dense": 2 * 4 * TOKENS**2 >> 20}
    head = COMPILED_INTRODUCTION.format(
        **given, gpu=blocks["gpu"], tpu=blocks["tpu"], counts="\n".join(counts)
    )
    lines = [compiled_row(kind, one) for kind, one in tried]
    return "\n".join([COMPILED, head + "\n".join(lines), ""])


def compiled_row(kind: str, one: dict[str, Any]) -> str:
    """The row of a variant that was compiled."""
    gpu, tpu = one.get("gpu", {}), one.get("tpu", {})
    used, spilled = dict(gpu.get("registers", {})), gpu.get("spilled", {})
    forward = [used.pop(name) for name in sorted(used) if name.startswith("fold_rows")]
    both = " / ".join(str(max(some)) for some in (forward, used.values()) if some)

    def state(made: dict[str, Any]) -> str:
        return "not tried" if not made else made.get("compiled", "-")

    def memory(made: dict[str, Any]) -> str:
        return f"{made['memory'] / 2**20:.1f}" if "memory" in made else ""

    worst = str(max(spilled.values())) if spilled else ""
    return f"| {kind} | {state(gpu)} | {memory(gpu)} | {both} | {worst} | {state(tpu)} | {memory(tpu)} |"


def main() -> int:
    """Find out what is not known, and write a part of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds; all if none")
    parser.add_argument("--again", action="store_true", help="find out again what is kept")
    parser.add_argument("--lowering-only", action="store_true", help="leave out the interpreted kernels")
    parser.add_argument(
        "--compile", type=Path, metavar="FOLDER", help="compile, with the compilers in FOLDER"
    )
    chosen = parser.parse_args()
    KEPT.mkdir(exist_ok=True)
    places = {name: KEPT / f"{name}.json" for name in ("kernels", "compiled")}
    both = {
        name: json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
        for name, place in places.items()
    }
    name = "compiled" if chosen.compile else "kernels"
    devices = (
        {one: compile_only_devices(one, chosen.compile)[0] for one in COMPILERS} if chosen.compile else {}
    )
    for entry in everything():
        old, now = both[name].get(name_of(entry), {}), state(entry)
        if chosen.names and entry.kind not in chosen.names:
            continue
        if chosen.again or old.get("state") != now:
            old = {}
        asked = devices or (("gpu",) if chosen.lowering_only else ("errors", "unchecked"))
        if "absent" in old or (old and (all if devices else any)(one in old for one in asked)):
            continue
        made = compile_one(entry, devices, old) if devices else find_out(entry, chosen.lowering_only)
        both[name][name_of(entry)] = {**made, "state": now}
        places[name].write_text(json.dumps(both[name]), encoding="utf-8")
        print(name_of(entry), made, flush=True)
    text = [page(both["kernels"], both["compiled"]), compiled_part(both["compiled"])]
    PAGE.write_text("\n".join(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
