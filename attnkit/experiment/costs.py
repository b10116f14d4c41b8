"""Costs of a variant, put together from the cards of its parts.

One layer. A multiplication and an addition are two floating-point operations (FLOPs). Numbers are worked out
for `SIZES`. Training takes three times the FLOPs of reading: the backward pass is two forward passes.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from attnkit.experiment import catalogue
from attnkit.experiment.formula import plus, rounded, worked_out
from attnkit.forms import scored as scored_forms
from attnkit.forms import supported_forms
from attnkit.forms.catalogue import find_forms
from attnkit.forms.sizes import Sizes
from attnkit.layers.attention import AttentionTokenMixer
from attnkit.scored.contract import Part
from attnkit.scored.preset.attention import as_scored
from attnkit.variant import HeadShape

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
SHAPE = HeadShape(heads=16, dim=64, value_dim=64)
SETTING = "model_dim 1024, 16 heads of 64, 4096 tokens, 2 bytes a number"
BYTES = 2
PARTS = ("Score", "Position", "Normalizer", "Selection", "Mask")
PROJECTIONS = "4 * model_dim * (heads + kv_heads) * head_dim"
CACHE = "2 * kv_heads * head_dim"
ATTENTION = "4 * dim + 3"
FAMILIES: Mapping[str, str] = {
    "scored": "scored attention",
    "preset": "scored attention, presets",
    "recurrence": "recurrent attention",
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
    room = "preset" if ".preset." in entry.module and entry.kind != "attention" else room
    return f"TokenMixer: {FAMILIES[room]}" if room in FAMILIES else "TokenMixer"


def card_of(thing: Any) -> Mapping[str, Any]:
    """The fields of the card of a class, part or entry that differ from the defaults."""
    card = getattr(thing, "card", None)
    fields = dataclasses.fields(card) if card is not None else ()
    return {f.name: getattr(card, f.name) for f in fields if getattr(card, f.name) != f.default}


def parts_of(entry: catalogue.Entry) -> tuple[Any, ...]:
    """The parts of a preset with default options; for required options, those that it is checked with."""
    scored = entry.cls(**required_options(entry)).scored()
    return (scored.score, scored.normalizer, *scored.position, *scored.selection, scored.mask)


def token_widths(part: Any) -> list[str]:
    """The widths of the token inputs that a part declares."""
    return [str(need.width) for need in part.inputs(SHAPE).values()] if isinstance(part, Part) else []


def names_of(options: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """The numeric options among some, by name."""
    return {name: float(value) for name, value in options if type(value) in (int, float)}


def costs(entry: catalogue.Entry) -> list[Cost]:
    """The costs of an entry, line by line."""
    card = card_of(entry)
    names = {**SIZES, **names_of((field.name, field.default) for field in entry.fields)}

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
    if room.startswith("TokenMixer: scored attention"):
        parts = parts_of(entry)
        for part in parts:
            names = {**names_of((f.name, getattr(part, f.name)) for f in dataclasses.fields(part)), **names}
        pair = plus(*(card_of(part).get("pair_flops", "0") for part in parts), "2 * dim")
        widths = [width for part in parts for width in token_widths(part)]
        cache = plus(CACHE, *(f"heads * {width}" for width in widths))
        token = plus(PROJECTIONS, *(f"2 * model_dim * heads * {width}" for width in widths))
        return [line("per pair and head", pair, "FLOPs"), *per_token(line, token, token, cache)]
    return layer_costs(entry, card, line)


def layer_costs(entry: catalogue.Entry, card: Mapping[str, Any], line: Any) -> list[Cost]:
    """Of a mixer that is a layer: what its card says, on top of plain attention if it is attention."""
    token, step = card.get("token_flops", "0"), card.get("step_flops", "")
    if not issubclass(entry.cls, AttentionTokenMixer) and "cache" not in card:
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
    if names := card_of(entry).get("forms"):
        return tuple(names)
    if family(entry) == "TokenMixer: recurrent attention":
        return (*supported_forms(entry.cls(**required_options(entry)), platform="cpu"), "step")
    scored = family(entry).startswith("TokenMixer: scored attention")
    if not (scored or (entry.base in PARTS and entry.base != "Mask")):
        return ()
    variant = as_scored(entry.cls(**required_options(entry)))
    # Two blocks of one query and one key: a form that needs all keys in one block says so.
    sizes = Sizes(2, 2, block=(1, 1))
    found = find_forms(scored_forms)
    have = [name for name, form in found.items() if form.supports(variant, sizes, "cpu") is None]
    named = ["reference", "dense", *(name for name in sorted(have) if name not in ("reference", "dense"))]
    return (*named, "step") if variant.normalizer.axis == "keys" else tuple(named)


def required_options(entry: catalogue.Entry) -> dict[str, Any]:
    """Values for the options that have no default: those that the class is checked with."""
    checked = getattr(entry.cls, "checked_with", {})
    return {field.name: checked[field.name] for field in entry.fields if field.default is catalogue.REQUIRED}
