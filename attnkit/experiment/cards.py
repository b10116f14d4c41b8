"""What the command line prints about entries of the catalogues."""

import textwrap
from collections.abc import Mapping
from typing import Any

from attnkit.experiment import catalogue, source
from attnkit.experiment.editor_schema import plain
from attnkit.experiment.problems import written

WIDTH = 100


def listing(entries: Mapping[str, list[catalogue.Entry]]) -> str:
    """Every entry on a line, under the name of its catalogue."""
    blocks = []
    for base, found in entries.items():
        if found:
            width = max(len(entry.kind) for entry in found)
            blocks.append("\n".join([base, *(f"  {entry.kind:{width}}  {entry.summary}" for entry in found)]))
    return "\n\n".join(blocks)


def card(entries: list[catalogue.Entry]) -> str:
    """Everything about some entries, as text."""
    return "\n\n".join(one(entry) for entry in entries)


def one(entry: catalogue.Entry) -> str:
    """Everything about one entry, as text."""
    lines = [f"{entry.kind}  ({entry.base} {entry.source.name}, {entry.source.file}:{entry.source.line})", ""]
    lines.append(prose(entry.source.doc))
    attributes = entry.source.attributes.get("card")
    if isinstance(attributes, dict):
        lines.append("")
        width = max((len(name) for name in attributes), default=0)
        lines.extend(f"{name:{width}}  {value}" for name, value in attributes.items())
    fields = entry.fields
    lines += ["", "options" if fields else "no options"]
    for field in fields:
        default = (
            "required" if field.default is source.REQUIRED else f"default {written(plain(field.default))}"
        )
        if isinstance(field.default, catalogue.Default):
            default = f"default {field.default.kind}"
        lines.append(f"  {field.name}: {field.type}, {default}")
        if field.doc:
            lines.append(textwrap.fill(field.doc, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines)


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
        "class": entry.source.name,
        "file": str(entry.source.file),
        "line": entry.source.line,
        "summary": entry.summary,
        **{name: value for name, value in entry.source.attributes.items() if name == "card"},
        "options": [
            {
                "name": field.name,
                "type": str(field.type),
                "required": field.default is source.REQUIRED,
                "default": None if field.default is source.REQUIRED else plain(field.default),
                "doc": field.doc,
            }
            for field in entry.fields
        ],
    }
