"""Write docs/distributed.md: `JAX_NUM_CPU_DEVICES=8 python docs/make_distributed.py [--again] [NAME ...]`.

What was found is kept in `docs/.matrix/distributed.json`, so that a run that was
interrupted goes on where it stopped; `--again` finds it once more, which is needed after a change of the
engine. `NAME` is a variant, or `matrix`, `work` or `memory`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from attnkit import forms
from attnkit.conformance import distributed
from attnkit.conformance.distributed import DEVICES, FEATURES, FORMS, LIMITS, Comparison
from attnkit.experiment import cards, catalogue, costs
from attnkit.masks.causal import Causal
from attnkit.masks.longformer import Longformer
from attnkit.masks.window import Window
from attnkit.recurrence.contract import Recurrent
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention

HERE = Path(__file__).parent
KEPT = HERE / ".matrix" / "distributed.json"
BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer")
MANY = 4
WORK = {
    "everything": Attention(),
    "causal": Attention(mask=Causal()),
    "window of 1024": Attention(mask=Window(back=1023)),
    "Longformer": Attention(mask=Longformer()),
}
LENGTH, BLOCK = 8192, (64, 64)

INTRODUCTION = """# One sequence on several devices

A sequence that is too long for one device is cut into consecutive pieces, one on each device along an axis of
a mesh, `sequence` by custom. Four forms compute it as one device would:

| form | for | what travels |
| --- | --- | --- |
| `ring` | scored attention | keys and values, from each device to the next; queries stay |
| `ring_pallas` | scored attention on GPUs and TPUs | the same; hops are fused kernels |
| `ulysses` | scored attention | tokens, in exchange for heads: each device has some heads of all tokens |
| `passed` | linear recurrences | each device's map of the state, composed in `log2(devices)` exchanges |

Inside a `jax.shard_map` of your own, name the axis; arrays are those of the device:

```python
ak.attend(q, k, v, variant, implementation="ring", axis="sequence").output
```

or tell a layer, once:

```python
ak.nnx.TokenMixer(heads, width, variant=ak.Mamba2(), axis="sequence", rngs=rngs)
```

`ak.nnx.MultiHeadAttention` and `RecurrentAttention` take it too. Layers of scored attention whose
projections act on each token (`latent`, `differential`, `gated`, `exclusive`, ... included) and layers of
linear recurrences can be told; these ask the device before for the tokens that a short convolution or a
token shift reads. Layers that mix tokens in another way refuse an axis (`gru`, `native_sparse`,
`persistent_memory`, approximations, ...). Decoding, and reading or editing points, need whole sequences.

Or give whole arrays and the mesh, inside `jax.jit`:

```python
mesh = jax.make_mesh((8,), ("sequence",))
jax.jit(lambda q, k, v: ak.attend(q, k, v, variant, mesh=mesh).output)(q, k, v)
ak.recurrent(inputs, ak.GatedDeltaNet(), mesh=mesh)
```

`implementation="auto"` takes `ring` where it can (`ring_pallas` on a GPU or TPU) and `ulysses` where it
cannot; `ak.explain(variant, tokens, devices=8)` says which, and how the work is spread. Derivatives of every
order, batches and dropout are as on one device: which weight is dropped depends on positions alone. JAX's
check of varying axes stays on, but where kernels are, which do not say how they vary: a `jax.shard_map` of
your own needs `check_vma=False` for them. Training uses the same forms along `training.sequence`
([cluster](cluster.md)).

A ring computes no block that the mask proves empty, and keys pass by only where a device needs them. If the
mask gives devices unlike work, tokens are brought into zigzag order inside the form (device `d` of `n` gets
the half pieces `d` and `2 n - 1 - d`), and results back.

This page was written by `python docs/make_distributed.py` with jax {version}, on eight simulated CPU devices
in one process. **No speed was measured, and nothing ran on an accelerator.**
"""


def name_of(entry: catalogue.Entry) -> str:
    """The key under which a variant is kept."""
    return f"{entry.base}.{entry.kind}"


def attempt(find: Callable[[], dict[str, float]]) -> Any:
    """Errors, or the reason why there are none."""
    try:
        return find()
    except ValueError as error:
        return " ".join(str(error).split(": ", 1)[-1].split())


def everything() -> list[catalogue.Entry]:
    """All variants of scored attention with the parts of one, and all recurrences."""
    entries = [entry for base in BASES for entry in catalogue.catalogue(base)]
    kinds = (Preset, Recurrent)
    return [one for one in entries if one.base != "TokenMixer" or issubclass(one.cls, kinds)]


def tasks() -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is found out, by the name under which it is kept."""
    seen: dict[tuple[str, bool], Comparison] = {}
    for feature, causal, form, devices in distributed.matrix():

        def cell(feature: str = feature, causal: bool = causal, form: str = form, n: int = devices) -> Any:
            if (feature, causal) not in seen:
                seen.clear()
                seen[feature, causal] = Comparison(distributed.feature(feature, causal))
            return attempt(lambda: seen[feature, causal].errors(form, n))

        yield f"matrix.{feature}.{causal}.{form}.{devices}", cell
    for form in FORMS:
        for devices in DEVICES:
            yield (
                f"memory.{form}.{devices}",
                lambda form=form, devices=devices: distributed.resources(form, devices, LENGTH, BLOCK),
            )
    for entry in everything():
        yield name_of(entry), lambda entry=entry: of_variant(entry)


def of_variant(entry: catalogue.Entry) -> dict[str, Any]:
    """Errors or reasons of each form."""
    try:
        variant = entry.cls(**costs.required_options(entry))
        if isinstance(variant, Recurrent):
            return {"passed": attempt(lambda: distributed.passed_errors(variant, MANY))}
        comparison = Comparison(variant, "forward" if entry.base == "Mask" else "gradient")
        distributed.own_data(comparison.subject)
    except (TypeError, ValueError) as error:
        return {"unchecked": " ".join(str(error).split())}
    return {form: attempt(lambda form=form: comparison.errors(form, MANY)) for form in FORMS}


def text(found: Any) -> str:
    """The largest errors of the forward pass and of derivatives."""
    if not isinstance(found, dict):
        return "-"
    worst = [
        max((error for name, error in found.items() if (LIMITS[name] < 1e-11) == forward), default=None)
        for forward in (True, False)
    ]
    shown = " / ".join(f"{error:.0e}" for error in worst if error is not None)
    return shown if good(found) else f"**{shown}**"


def good(found: Any) -> bool:
    """Whether errors are within their limits."""
    return isinstance(found, dict) and all(error <= LIMITS[name] for name, error in found.items())


def page(found: dict[str, Any]) -> str:
    """The page as Markdown."""
    cells = {key: found[key] for key, _ in tasks() if key.startswith("matrix.") and key in found}
    lines = [
        INTRODUCTION.format(version=jax.__version__),
        "## Errors",
        "",
        "The largest error against the definition on one device in float64: output and log-sum-exp / "
        "gradient by every array, relative to the largest number of an array above 1. "
        f"{distributed.TOKENS} tokens, 8 "
        f"heads, blocks of {distributed.BLOCK[0]} x {distributed.BLOCK[1]} in a ring. "
        f"{sum(map(good, cells.values()))} of {len(cells)} are within 1e-12 / 1e-10.",
        "",
    ]
    for form in FORMS:
        devices = " | ".join(f"{n} device{'s' * (n > 1)}" for n in DEVICES)
        lines += [f"### {form}", "", f"| | {devices} |", "| --- |" + " --- |" * len(DEVICES)]
        for feature in FEATURES:
            for causal in (False, True):
                own = [text(cells.get(f"matrix.{feature}.{causal}.{form}.{n}")) for n in DEVICES]
                label = ", ".join(["causal"] * causal + [feature] * (feature != "none")) or "plain"
                lines.append(f"| {label} | {' | '.join(own)} |")
        lines.append("")
    return "\n".join([*lines, *work(), *memory(found), *variants(found)])


def work() -> list[str]:
    """How even the work of a ring is."""
    lines = ["## Work", "", f"Blocks that the devices compute of {8 * LENGTH} tokens, by a ring:", ""]
    lines += ["| mask | devices | |", "| --- | --- | --- |"]
    for name, variant in WORK.items():
        for devices in DEVICES[1:]:
            plan = forms.explain(variant.scored(), 8 * LENGTH, 8 * LENGTH, devices=devices)
            lines.append(f"| {name} | {devices} | {plan.reason.split('devices, ')[-1]} |")
    return [*lines, ""]


def memory(found: dict[str, Any]) -> list[str]:
    """What the compiled gradient takes."""
    lines = [
        "## Memory",
        "",
        f"Temporary memory of each device in the compiled gradient of causal attention with {LENGTH} tokens, "
        f"8 heads of width 16, float32, blocks of {BLOCK[0]} x {BLOCK[1]}; and the collective operations in "
        "the program. A ring gathers nothing; `ulysses` gathers positions. Kernels are interpreted, which "
        "takes copies of its own. One device alone needs no second copy of the tokens, in another order or "
        "on the way.",
        "",
        "| form | devices | bytes | gathers | permutations | exchanges |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for form in FORMS:
        for devices in DEVICES:
            if own := found.get(f"memory.{form}.{devices}"):
                lines.append(f"| {form} | {devices} | {' | '.join(f'{n:,}' for n in own.values())} |")
    return [*lines, ""]


def variants(found: dict[str, Any]) -> list[str]:
    """The table of all variants, with the reason of every gap."""
    entries: dict[str, list[catalogue.Entry]] = {}
    for entry in everything():
        if name_of(entry) in found:
            entries.setdefault(entry.base, []).append(entry)
    lines = [
        f"## Every variant on {MANY} devices",
        "",
        "Errors as above; of masks those of the forward pass, of recurrences with three documents and tokens "
        "that do not exist.",
        "",
    ]
    for title, some in cards.families(entries).items():
        columns = ["passed"] if "passed" in found[name_of(some[0])] else list(FORMS)
        lines += [f"### {title}", "", f"| variant | {' | '.join(columns)} |"]
        lines.append("| --- |" + " --- |" * len(columns))
        reasons = []
        for entry in some:
            own = found[name_of(entry)]
            lines.append(f"| {entry.kind} | {' | '.join(text(own.get(form)) for form in columns)} |")
            why = {form: own[form] for form in columns if isinstance(own.get(form), str)}
            reasons += [f"- {entry.kind}, {form}: {reason}" for form, reason in why.items()]
            reasons += [f"- {entry.kind}: not checked: {own['unchecked']}"] if "unchecked" in own else []
        lines += ["", *reasons, ""]
    return lines


def main() -> int:
    """Find out what is not known, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="variants, matrix, memory; all if none")
    parser.add_argument("--again", action="store_true", help="find out again what is kept")
    chosen = parser.parse_args()
    distributed.mesh_of(max(DEVICES))
    found = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    KEPT.parent.mkdir(exist_ok=True)
    for key, find in tasks():
        if chosen.names and not {key.split(".")[0], key.split(".")[1]} & set(chosen.names):
            continue
        if key in found and not chosen.again:
            continue
        found[key] = find()
        KEPT.write_text(json.dumps(found), encoding="utf-8")
        print(key, found[key], flush=True)
    (HERE / "distributed.md").write_text(page(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
