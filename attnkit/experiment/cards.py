"""Entries of the catalogues as text and as JSON."""

import textwrap
from collections.abc import Mapping
from typing import Any

from attnkit.experiment import catalogue, costs
from attnkit.experiment.catalogue import REQUIRED, is_options, of_object, plain
from attnkit.experiment.diagnostics import written
from attnkit.experiment.field_types import shown
from attnkit.experiment.formula import rounded

WIDTH = 100


def listing(entries: Mapping[str, list[catalogue.Entry]]) -> str:
    """Every entry on a line, under the name of its family, with what it costs and which forms it has.

    Costs are those of `attnkit.experiment.costs`: FLOPs per query-key pair and head, and what is kept of a
    token, or of a sequence, while decoding.
    """
    blocks = []
    for name, found in families(entries).items():
        table: list[tuple[str, ...]] = [(entry.kind, *columns(entry), entry.summary) for entry in found]
        if any(row[1] or row[2] for row in table):
            work = "FLOPs/head" if name.endswith("approximations") else "FLOPs/pair"
            table.insert(0, (name, work, "kept", "forms", ""))
        else:
            table = [(name, ""), *((row[0], row[-1]) for row in table)]
        widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in table]
        blocks.append("\n".join(line.rstrip() for line in [lines[0], *(f"  {line}" for line in lines[1:])]))
    kept = "kept while decoding: numbers per token and layer of attention, bytes per head of a recurrence"
    return "\n\n".join([*blocks, f"for {costs.SETTING}\n{kept}"])


def families(entries: Mapping[str, list[catalogue.Entry]]) -> dict[str, list[catalogue.Entry]]:
    """The entries of some catalogues by family, in the order of the catalogues."""
    found: dict[str, list[catalogue.Entry]] = {}
    order = {f"TokenMixer: {label}": n for n, label in enumerate(costs.FAMILIES.values())}
    for some in entries.values():
        for entry in sorted(some, key=lambda entry: order.get(costs.family(entry), -1)):
            found.setdefault(costs.family(entry), []).append(entry)
    return found


def columns(entry: catalogue.Entry) -> tuple[str, str, str]:
    """FLOPs per pair, what is kept while decoding, and forms, for a list."""
    lines = {cost.what: cost for cost in costs.costs(entry)}
    pair = next((cost for what, cost in lines.items() if what.startswith(("per pair", "reading"))), None)
    kept = next((lines[what] for what in ("cache per token", "state") if what in lines), None)
    return short(pair), short(kept), " ".join(costs.forms(entry))


def short(cost: costs.Cost | None) -> str:
    """A cost as a number if it is one."""
    if cost is None:
        return ""
    return cost.formula if cost.value is None else rounded(cost.value)


def card(entries: list[catalogue.Entry]) -> str:
    """Everything about some entries, as text."""
    return "\n\n".join(one(entry) for entry in entries)


def one(entry: catalogue.Entry) -> str:
    """Everything about one entry, as text."""
    lines = [title(entry), "", prose(entry.doc)]
    card = costs.card_of(entry)
    if card:
        lines.append("")
        rows = {name: card[name] for name in ("source", "equation", "assumes") if card.get(name)}
        rows |= {"forms": ", ".join(costs.forms(entry))} if costs.forms(entry) else {}
        width = max((len(name) for name in rows), default=0)
        lines.extend(f"{name:{width}}  {value}" for name, value in rows.items())
        lines.extend(costly(entry))
    return "\n".join([*lines, "", *options(entry)])


def title(entry: catalogue.Entry) -> str:
    """The name of an entry and its place."""
    section = entry.name.removesuffix("Table").lower()
    name = f"{entry.kind}  ({entry.base} {entry.name}" if entry.kind else f"[{section}]  (section"
    return f"{name}, {entry.file}:{entry.line})"


def options(entry: catalogue.Entry) -> list[str]:
    """The options of an entry with type, default and documentation, as lines of text."""
    lines = ["options" if entry.fields else "no options"]
    for field in entry.fields:
        default = "required" if field.default is REQUIRED else f"default {written(plain(field.default))}"
        if is_options(type(field.default)):
            default = f"default {of_object(field.default).kind}"
        lines.append(f"  {field.name}: {shown(field.type)}, {default}")
        if field.doc:
            lines.append(textwrap.fill(field.doc, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return lines


def costly(entry: catalogue.Entry) -> list[str]:
    """The costs of an entry, as lines of text."""
    found = costs.costs(entry)
    if not found:
        return []
    width = max(len(cost.what) for cost in found)
    return ["", f"costs of a layer ({costs.SETTING})", *(f"  {cost.what:{width}}  {cost}" for cost in found)]


def prose(doc: str) -> str:
    """A docstring without its list of attributes, which the card shows as options."""
    kept = []
    skipping = False
    for line in doc.splitlines():
        if line.strip() in ("Attributes:", "Args:"):
            skipping = True
        elif line and not line[0].isspace():
            skipping = False
        if not skipping:
            kept.append(line)
    return "\n".join(kept).strip()


def facts(entry: catalogue.Entry) -> dict[str, Any]:
    """Everything about one entry, for programs."""
    return {
        "base": entry.base,
        "kind": entry.kind,
        "class": entry.name,
        "file": str(entry.file),
        "line": entry.line,
        "summary": entry.summary,
        "family": costs.family(entry),
        "forms": list(costs.forms(entry)),
        "costs": [
            {"what": cost.what, "formula": cost.formula, "unit": cost.unit, "value": cost.value}
            for cost in costs.costs(entry)
        ],
        **({"card": card} if (card := costs.card_of(entry)) else {}),
        "options": [
            {
                "name": field.name,
                "type": shown(field.type),
                "required": field.default is REQUIRED,
                "default": None if field.default is REQUIRED else plain(field.default),
                "doc": field.doc,
            }
            for field in entry.fields
        ],
    }
