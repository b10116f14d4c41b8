"""A comparison as one HTML page that needs no network, no script and no other file."""

import base64
from collections.abc import Mapping, Sequence

from attnkit.inspection.page import POLICY
from attnkit.inspection.style import CSS
from attnkit.inspection.writing import text
from attnkit.studies.tables import Table

OWN_CSS = (
    "main section{margin-top:2.75rem}figure{margin:1rem 0}"
    "figure img{width:40rem;max-width:100%;background:#fff;border-radius:8px}"
)


def render(
    title: str, about: str, tables: Sequence[Table], notes: Sequence[str], figures: Mapping[str, bytes]
) -> str:
    """The page as one string: equal arguments give equal pages.

    Args:
        title: name of the comparison.
        about: its purpose; an empty line parts paragraphs.
        tables: the first one stands on top.
        notes: what must be known to read them.
        figures: SVG files by what they show.
    """
    paragraphs = "".join(f"<p>{text(part)}</p>" for part in about.split("\n\n") if part.strip())
    said = "".join(f"<p class='small-print'>{text(note)}</p>" for note in notes)
    first, rest = tables[:1], tables[1:]
    body = "".join(map(section, first)) + said + "".join(map(picture, figures.items()))
    body += "".join(map(section, rest))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>{CSS}{OWN_CSS}</style></head><body>"
        f'<header><p class="eyebrow">attnkit comparison</p><h1><bdi>{text(title)}</bdi></h1>'
        f'<div class="about">{paragraphs}</div></header><main>{body}</main>'
        "<footer>Made by attnkit. This page is one file and loads nothing from anywhere.</footer>"
        "</body></html>\n"
    )


def section(table: Table) -> str:
    """A table with its heading."""
    head = f'<th scope="col">{text(table.header[0])}</th>'
    head += "".join(f'<th scope="col" class="figure">{text(name)}</th>' for name in table.header[1:])
    rows = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>{"".join(f"<td>{text(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    content = f"<table class='pivot'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    name = text(table.title)
    scrolled = f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{content}</div>'
    return f"<section><h2>{name}</h2>{scrolled}</section>"


def picture(named: tuple[str, bytes]) -> str:
    """A figure with its heading."""
    name, data = named
    encoded = base64.b64encode(data).decode()
    return (
        f"<section><h2>{text(name)}</h2><figure>"
        f'<img alt="{text(name)}; its numbers are in the tables" src="data:image/svg+xml;base64,{encoded}">'
        "</figure></section>"
    )
