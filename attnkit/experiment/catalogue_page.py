"""The catalogue as a page: every variant by family, from the cards."""

import html
import re

from attnkit.experiment import cards, catalogue, catalogue_pictures, costs
from attnkit.experiment.catalogue_pictures import SHEETS
from attnkit.experiment.field_types import FOLDERS

INTRODUCTION = f"""# The catalogue

Everything a config can choose, by family, written by `python docs/make_catalogue.py` from the cards in the
source files. `attnkit variants NAME` shows one with its options; `attnkit check NAME` proves it.

FLOPs are those of one query-key pair and head when reading (training takes three times as many); for
approximations, those of a head and sequence. *Kept* is what decoding keeps: numbers of each token and layer;
for recurrent attention, numbers of each sequence and layer. Both are for {costs.SETTING},
and for default options; the formulas are on the cards. Forms are explained in
[architecture.md](architecture.md).

Pictures: rows are queries, columns keys. Masks show who may look at whom. Patterns are the first head of a
layer with fresh parameters on 32 random tokens, sizes of weights by their square root, each scaled to its
largest; parts stand in plain causal attention.
"""
BASES = tuple(base for base in FOLDERS if base not in ("Task", "Model", "Logger"))


def page() -> str:
    """The page as Markdown."""
    entries = {base: catalogue.catalogue(base) for base in BASES}
    sections = [section(name, found) for name, found in cards.families(entries).items()]
    return "\n".join([INTRODUCTION, *sections])


def section(name: str, found: list[catalogue.Entry]) -> str:
    """One family."""
    lines = [f"## {name}", ""]
    if name in SHEETS:
        lines += [f"![Weights of a fresh head of each](pictures/catalogue/{SHEETS[name]}.svg)", ""]
    if name == "Mask":
        return "\n".join([*lines, *(mask(entry) for entry in found)])
    lines += ["| kind | what | equation | source | FLOPs | kept | forms |", "|" + " --- |" * 7]
    return "\n".join([*lines, *(row(entry) for entry in found), ""])


def row(entry: catalogue.Entry) -> str:
    """One variant."""
    card = costs.card_of(entry)
    pair, kept, forms = cards.columns(entry)
    equation = f"`{card['equation']}`" if card.get("equation") else ""
    cells = (f"`{entry.kind}`", entry.summary, equation, card.get("source", ""), pair, kept, forms)
    return "| " + " | ".join(map(cell, cells)) + " |"


def cell(text: str) -> str:
    """Text of one cell of a table: its bars are no borders, in code neither.

    >>> print(cell("`|x|` or y"))
    <code>&#124;x&#124;</code> or y
    """
    coded = re.sub(r"`([^`]*[|][^`]*)`", lambda one: f"<code>{html.escape(one[1])}</code>", text)
    return coded.replace("|", "&#124;")


def mask(entry: catalogue.Entry) -> str:
    """One mask, with the picture that its documentation draws."""
    drawn = picture(entry.doc)
    paper = re.search(r"^Source: (.*?)(?:\n\n|\Z)", entry.doc, re.MULTILINE | re.DOTALL)
    about = [f"### `{entry.kind}`", "", entry.summary]
    about += ["", " ".join(paper[1].split())] if paper else []
    shown = [f"![mask {entry.kind}](pictures/masks/{entry.kind}.svg)", ""] if drawn else []
    return "\n".join([*about, "", *shown])


def masks() -> dict[str, str]:
    """File name and SVG of every mask that its documentation draws."""
    drawn = {entry.kind: picture(entry.doc) for entry in catalogue.catalogue("Mask")}
    return {f"{kind}.svg": catalogue_pictures.mask(lines) for kind, lines in drawn.items() if lines}


def picture(doc: str) -> list[str]:
    """The first drawn mask in a docstring."""
    lines: list[str] = []
    for line in doc.splitlines():
        if re.fullmatch(r"\s*[#.](?:\s+[#.])*\s*", line):
            lines.append(line.strip())
        elif lines:
            break
    return lines
