"""The report: one HTML page that needs no network, no script and no other file.

All data reaches the page through `writing.text`; ids and style rules are made from counters only. The page
also tells the browser to load nothing from anywhere (Content-Security-Policy), so not even a fault here could
reach out.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from attnkit.inspection import attention, chart, heads_page
from attnkit.inspection.palette import filters
from attnkit.inspection.report import Report, Result, Sample
from attnkit.inspection.style import CSS
from attnkit.inspection.writing import DASH, number, percent, plain, text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
LONGEST_COMPARED = 600


def render(report: Report) -> str:
    """`report.html` as one string: the same report always gives the same page. Write it as UTF-8.

    >>> page = render(Report(title="</title><script>alert(1)</script>"))
    >>> "<script" in page
    False
    """
    present = sections(report)
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name, _ in present)
    return document(
        report.title,
        f"{_header(report)}<nav aria-label='Sections'>{links}</nav>{body(present)}"
        "<footer>Made by attnkit. This page is one file and loads nothing from anywhere.</footer>",
    )


def sections(report: Report) -> list[tuple[str, str, str]]:
    """Id, name and content of the sections that have one."""
    every = [
        ("results", "Results", _results(report.results)),
        ("curves", "Learning curves", _curves(report)),
        ("samples", "Samples", _samples(report.samples)),
        ("heads", "Heads", heads_page.draw(report.heads) if report.heads else ""),
        ("attention", "Attention", _attention(report)),
        ("run", "The run", _run(report)),
    ]
    return [section for section in every if section[2]]


def body(present: Sequence[tuple[str, str, str]]) -> str:
    """Sections as HTML."""
    parts = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{name}</h2>'
        f"{content}</section>"
        for key, name, content in present
    )
    return f"<main>{parts}</main>"


def document(title: str, content: str) -> str:
    """A page with its styles, which loads nothing."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>{CSS}</style></head><body>{filters()}{content}</body></html>\n"
    )


def _attention(report: Report) -> str:
    if report.attention_problem:
        return f"<p>{text(report.attention_problem)}</p>"
    return attention.draw(report.attention) if report.attention else ""


def _header(report: Report) -> str:
    paragraphs = "".join(f"<p>{text(part)}</p>" for part in report.about.split("\n\n") if part.strip())
    headlines = [result for result in report.results if result.headline]
    cards = f'<div class="cards">{"".join(map(_card, headlines))}</div>' if headlines else ""
    command = (
        _scrolled(f"<pre><code>{text(report.command)}</code></pre>", "Command") if report.command else ""
    )
    return (
        f'<header><p class="eyebrow">attnkit report</p><h1><bdi>{text(report.title)}</bdi></h1>'
        f'<div class="about">{paragraphs}</div>{command}{cards}</header>'
    )


def _card(result: Result) -> str:
    beside = []
    if result.floor is not None:
        beside.append(f"floor <b>{_value(result, result.floor)}</b>")
    if result.ceiling is not None:
        beside.append(f"ceiling <b>{_value(result, result.ceiling)}</b>")
    note = f"<br>{text(result.note)}" if result.note else ""
    split = f'<span class="split">{text(result.split)}</span>' if result.split else ""
    return (
        f'<div class="card"><h3>{text(result.name)} {split}</h3>'
        f'<p class="value">{_value(result, result.value)}</p>{_bar(result)}'
        f'<p class="beside">{" · ".join(beside) or "floor not known"}{note}</p></div>'
    )


def _bar(result: Result) -> str:
    if result.unit != "fraction" or not math.isfinite(result.value):
        return ""
    filled = 100 * min(max(result.value, 0.0), 1.0)
    floor = result.floor
    known = floor is not None and math.isfinite(floor)
    mark = f'<i style="left:{100 * min(max(floor or 0.0, 0.0), 1.0):.1f}%"></i>' if known else ""
    return f'<div class="bar" aria-hidden="true"><b style="width:{filled:.1f}%"></b>{mark}</div>'


def _value(result: Result, value: float) -> str:
    if result.unit == "fraction":
        return text(percent(value))
    return number(value) if result.unit == "number" else f"{number(value)} <small>{text(result.unit)}</small>"


def _results(results: tuple[Result, ...]) -> str:
    if not results:
        return ""
    noted = any(result.note for result in results)
    topped = any(result.ceiling is not None for result in results)
    rows = []
    for result in results:
        cells = [_value(result, result.value), DASH if result.floor is None else _value(result, result.floor)]
        if topped:
            cells.append(DASH if result.ceiling is None else _value(result, result.ceiling))
        numbers = "".join(f"<td>{cell}</td>" for cell in cells)
        note = f'<td class="words">{text(result.note)}</td>' if noted else ""
        rows.append(
            f'<tr><th scope="row">{text(result.name)}</th><td class="words">{text(result.split)}</td>'
            f"{numbers}{note}</tr>"
        )
    head = '<th scope="col">metric</th><th scope="col">split</th><th scope="col" class="figure">value</th>'
    head += '<th scope="col" class="figure">floor</th>'
    head += '<th scope="col" class="figure">ceiling</th>' if topped else ""
    head += '<th scope="col">note</th>' if noted else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return _scrolled(table, "Results") + (
        '<p class="small-print">Floor: what a model that learned nothing reaches on the same examples.</p>'
    )


def _curves(report: Report) -> str:
    return "".join(f'<div class="curve">{chart.draw(curve)}</div>' for curve in report.curves)


def _samples(samples: tuple[Sample, ...]) -> str:
    if not samples:
        return ""
    judged = [sample.right for sample in samples if sample.right is not None]
    said = f"<p>{sum(judged)} of these {len(judged)} are right.</p>" if judged else ""
    if any(sample.expected is None for sample in samples):
        said += '<p><span class="given">Pale: what the model was given.</span> The rest it wrote.</p>'
    return said + f'<ol class="samples">{"".join(map(_sample, samples))}</ol>'


def _sample(sample: Sample) -> str:
    verdict = ""
    if sample.right is not None:
        verdict = (
            '<p class="verdict right"><span aria-hidden="true">✓</span> right</p>'
            if sample.right
            else '<p class="verdict wrong"><span aria-hidden="true">✗</span> wrong</p>'
        )
    if sample.expected is None:
        shown = (
            f'<p class="prose" dir="auto"><span class="given">{text(sample.prompt)}</span>'
            f'<span class="written">{text(sample.got)}</span></p>'
        )
        return f'<li class="wide">{verdict}{shown}</li>'
    if sample.got == sample.expected:
        rows = [("given", _said(sample.prompt)), ("got, as expected", _said(sample.got))]
    else:
        expected, got = _compared(sample.expected, sample.got)
        rows = [("given", _said(sample.prompt)), ("expected", expected), ("got", got)]
    items = "".join(f'<dt>{name}</dt><dd dir="auto">{value}</dd>' for name, value in rows)
    return f"<li>{verdict}<dl>{items}</dl></li>"


def _said(value: str) -> str:
    return text(value) if value else '<span class="nothing">nothing</span>'


def _compared(expected: str, got: str) -> tuple[str, str]:
    """Both strings as HTML, with what differs marked."""
    if not expected or not got or max(len(expected), len(got)) > LONGEST_COMPARED:
        return _said(expected), _said(got)
    left, right = [], []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, expected, got, autojunk=False).get_opcodes():
        left.append(_marked(expected[a:b], kind))
        right.append(_marked(got[c:d], kind))
    return "".join(left), "".join(right)


def _marked(part: str, kind: str) -> str:
    return text(part) if kind == "equal" or not part else f"<mark>{text(part)}</mark>"


def _run(report: Report) -> str:
    groups = "".join(_facts(name, values) for name, values in report.facts.items())
    facts = f'<div class="facts">{groups}</div>' if groups else ""
    config = _folded("Config", _scrolled(f"<pre><code>{text(report.config)}</code></pre>", "Config"))
    machine = _folded("Environment", _facts("", report.environment))
    return facts + (config if report.config else "") + (machine if report.environment else "")


def _facts(heading: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<div><dt>{text(str(name))}</dt><dd><bdi>{text(plain(value))}</bdi></dd></div>"
        for name, value in values.items()
    )
    title = f"<h3>{text(heading)}</h3>" if heading else ""
    return f'<div class="fact-group">{title}<dl>{rows}</dl></div>'


def _folded(name: str, content: str) -> str:
    return f'<details class="folded"><summary>{name}</summary>{content}</details>'


def _scrolled(content: str, name: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{content}</div>'
