"""What a variant costs, put together from the cards of its parts; everything is read, nothing is imported.

One layer. A multiplication and an addition are two floating-point operations (FLOPs). Numbers are worked out
for `SIZES`. Training takes three times the FLOPs of reading: the backward pass is two forward passes.
"""

import ast
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnkit.experiment import catalogue, source
from attnkit.experiment.formula import plus, rounded, worked_out

SIZES: Mapping[str, float] = {
    "model_dim": 1024,
    "heads": 16,
    "kv_heads": 16,
    "head_dim": 64,
    "dim": 64,
    "key_dim": 64,
    "value_dim": 64,
    "length": 4096,
    "keys": 4096,
    "below": 1,
}
SETTING = "model_dim 1024, 16 heads of 64, 4096 tokens, 2 bytes a number"
BYTES = 2
PARTS = ("Score", "Position", "Normalizer", "Selection", "Mask")
PROJECTIONS = "4 * model_dim * (heads + kv_heads) * head_dim"
CACHE = "2 * kv_heads * head_dim"
ATTENTION = "4 * dim + 3"
SCORED_FORMS = ("reference", "dense", "blockwise", "step")
FAMILIES: Mapping[str, str] = {
    "scored": "scored attention",
    "recurrent": "recurrent attention",
    "approximate": "approximations",
    "layers": "layers",
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """One line of what something costs: what, the formula, and its value for the usual sizes."""

    what: str
    formula: str
    unit: str
    value: float | None

    def __str__(self) -> str:
        if self.value is None or self.formula == rounded(self.value).replace(",", ""):
            return f"{self.formula} {self.unit}".strip()
        return f"{self.formula} = {rounded(self.value)} {self.unit}"


def family(entry: catalogue.Entry) -> str:
    """The name under which an entry is listed: its catalogue, for mixers also the room they are from."""
    if entry.base != "TokenMixer":
        return entry.base
    room = entry.module.split(".")[1] if entry.module.startswith("attnkit.") else ""
    return f"TokenMixer: {FAMILIES[room]}" if room in FAMILIES else "TokenMixer"


def card_of(entry: catalogue.Entry) -> Mapping[str, Any]:
    """The card of an entry, empty if it has none."""
    card = entry.source.attributes.get("card")
    return card if isinstance(card, dict) else {}


def parts_of(entry: catalogue.Entry) -> list[catalogue.Entry]:
    """The parts that a preset is put together from, with default options, as far as its source says."""
    tree = source.module(entry.source.file).classes.get(entry.source.name)
    found = [part for field in entry.fields for part in defaults(field.default, field.type)]
    for method in tree.body if tree is not None else []:
        if isinstance(method, ast.FunctionDef):
            for node in ast.walk(method):
                if isinstance(node, ast.Call):
                    found += called(node)
    return found


def defaults(value: Any, kind: Any) -> Iterator[catalogue.Entry]:
    """The parts in a default."""
    if isinstance(value, tuple):
        for item in value:
            yield from defaults(item, kind)
    elif isinstance(value, catalogue.Default):
        for base in PARTS:
            if catalogue.file_of(base, value.kind) is not None and base in str(kind):
                yield catalogue.find(base, value.kind, ())


def called(node: ast.Call) -> list[catalogue.Entry]:
    """The part that a call makes, or the default parts of the preset that it makes."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if not name[:1].isupper():
        return []
    if name in part_files():
        return [catalogue.shipped(*part_files()[name])]
    plain = catalogue.file_of("TokenMixer", "attention")
    if name != "Attention" or plain is None:
        return []
    given = {keyword.arg for keyword in node.keywords}
    fields = catalogue.shipped("TokenMixer", "attention", plain).fields
    return [part for f in fields if f.name not in given for part in defaults(f.default, f.type)]


@functools.cache
def part_files() -> dict[str, tuple[str, str, Path]]:
    """Base, kind and file of every part by the name of its class."""
    found = ((base, kind, file) for base in PARTS for kind, file in catalogue.files(base).items())
    return {catalogue.camel(kind): (base, kind, file) for base, kind, file in found}


def token_widths(part: catalogue.Entry) -> list[str]:
    """The widths of the token inputs that a part declares, as formulas."""
    tree = source.module(part.source.file).classes.get(part.source.name)
    found = []
    for method in tree.body if tree is not None else []:
        if isinstance(method, ast.FunctionDef) and method.name == "inputs":
            calls = [node for node in ast.walk(method) if isinstance(node, ast.Call)]
            for call in calls:
                if isinstance(call.func, ast.Name) and call.func.id == "TokenInput":
                    given = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "width")]
                    text = ast.unparse(given[0]) if given else "1"
                    found.append(text.replace("shape.", "").replace("self.", ""))
    return found


def chooses(entry: catalogue.Entry) -> bool:
    """Whether the parts of a preset depend on its options."""
    tree = source.module(entry.source.file).classes.get(entry.source.name)
    return tree is not None and any(isinstance(node, ast.IfExp | ast.If) for node in ast.walk(tree))


def names_of(entry: catalogue.Entry) -> dict[str, float]:
    """Usual sizes, and the entry's own numeric options by name."""
    own = {f.name: float(f.default) for f in entry.fields if type(f.default) in (int, float)}
    return {**SIZES, **own}


def costs(entry: catalogue.Entry) -> list[Cost]:
    """What an entry costs, line by line."""
    card, names = card_of(entry), names_of(entry)

    def line(what: str, formula: str, unit: str, times: float = 1) -> Cost:
        number = worked_out(formula, names)
        return Cost(what, formula, unit, None if number is None else times * number)

    room = family(entry)
    if entry.base in PARTS:
        return [line("per pair and head", card["pair_flops"], "FLOPs")] if "pair_flops" in card else []
    if "sequence_flops" in card:
        return [line("reading, per head", card["sequence_flops"], "FLOPs")]
    if room == "TokenMixer: recurrent attention":
        return [line("state", card["state"], "numbers")] if "state" in card else []
    if room == "TokenMixer: scored attention":
        parts = parts_of(entry)
        for part in parts:
            names |= {k: v for k, v in names_of(part).items() if k not in names}
        pair = plus(*(card_of(part).get("pair_flops", "0") for part in parts), "2 * dim")
        what = "per pair and head" + (", all that options may choose" if chooses(entry) else "")
        widths = [width for part in parts for width in token_widths(part)]
        cache = plus(CACHE, *(f"heads * {width}" for width in widths))
        token = plus(PROJECTIONS, *(f"2 * model_dim * heads * {width}" for width in widths))
        return [line(what, pair, "FLOPs"), *per_token(line, token, token, cache)]
    return layer_costs(entry, card, line)


def layer_costs(entry: catalogue.Entry, card: Mapping[str, Any], line: Any) -> list[Cost]:
    """Of a mixer that is a layer: what its card says, on top of plain attention if it is attention."""
    token, step = card.get("token_flops", "0"), card.get("step_flops", "")
    if "HeadTokenMixer" not in entry.source.ancestors and "cache" not in card:
        state = card.get("state", "0")
        lines = [line("reading, per token", token, "FLOPs")] if token != "0" else []
        return [*lines, *([line("state", state, "numbers")] if state != "0" else [])]
    pair, step_pair = card.get("pair_flops", "0"), card.get("step_pair_flops", "")
    lines = [line("per pair and head", plus(ATTENTION, pair), "FLOPs")]
    if step_pair:
        lines.append(line("per pair and head, decoding", plus(ATTENTION, step_pair), "FLOPs"))
    return [
        *lines,
        *per_token(
            line, plus(PROJECTIONS, token), plus(PROJECTIONS, step or token), card.get("cache", CACHE)
        ),
    ]


def per_token(line: Any, reading: str, decoding: str, cache: str) -> list[Cost]:
    """Costs of a token beside pairs."""
    lines = [line("per token", reading, "FLOPs")]
    if decoding != reading:
        lines.append(line("per token, decoding", decoding, "FLOPs"))
    moved = f"({cache}) * length" if cache != "0" else "0"
    return [
        *lines,
        line("cache per token", cache, "numbers"),
        line("cache per token, bytes", f"{BYTES} * ({cache})", "bytes"),
        line("read from the cache per decoded token", f"{BYTES} * {moved}" if moved != "0" else "0", "bytes"),
    ]


def forms(entry: catalogue.Entry) -> tuple[str, ...]:
    """The forms that exist, empty if that says nothing (masks, models)."""
    card = card_of(entry)
    if card.get("forms"):
        return tuple(card["forms"])
    room = family(entry)
    if room == "TokenMixer: scored attention":
        return narrowest([forms(part) for part in parts_of(entry) if part.base != "Mask"])
    if room == "TokenMixer: recurrent attention":
        own = ("scan", "step", *methods(entry))
        stepped = "SteppedRecurrent" in entry.source.ancestors
        return tuple(f for f in ("scan", "chunked", "matrix", "step") if not stepped or f in own)
    if entry.base in ("Score", "Position", "Selection", "Normalizer"):
        if entry.source.attributes.get("whole"):
            return ("reference", "dense", "step")
        return (*SCORED_FORMS, "split") if merges(entry) else SCORED_FORMS
    return ()


def merges(entry: catalogue.Entry) -> bool:
    """Whether results over pieces of the keys can be merged."""
    if entry.base == "Normalizer":
        return "Exponential" in entry.source.ancestors
    own = methods(entry)
    return entry.base != "Selection" and not entry.source.attributes.get("walks") and "inputs" not in own


def methods(entry: catalogue.Entry) -> set[str]:
    """Names of the methods of an entry's own class."""
    tree = source.module(entry.source.file).classes.get(entry.source.name)
    return set() if tree is None else {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def narrowest(each: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The forms that all have, in the order of the first."""
    if not each:
        return SCORED_FORMS
    return tuple(form for form in each[0] if all(form in other for other in each))
