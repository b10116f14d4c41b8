"""The report: one HTML page that needs no network, no script and no other file.

All data reaches the page through `writing.text`; ids and style rules are made from counters only. The page
also tells the browser to load nothing from anywhere (Content-Security-Policy), so not even a fault here could
reach out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attnkit.inspection import attention, chart, heads_page, results_page, samples_page
from attnkit.inspection.palette import filters
from attnkit.inspection.report import Report
from attnkit.inspection.style import CSS
from attnkit.inspection.writing import breakable, plain, text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


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
        ("results", "Results", results_page.table(report.results)),
        ("answers", "Answers by class", results_page.matrices(report.confusion)),
        ("curves", "Learning curves", _curves(report)),
        ("samples", "Samples", samples_page.draw(report.samples)),
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
    verdict = f'<p class="verdict-line">{text(report.verdict)}</p>' if report.verdict else ""
    command = (
        _scrolled(f"<pre><code>{text(report.command)}</code></pre>", "Command") if report.command else ""
    )
    return (
        f'<header><p class="eyebrow">attnkit report</p><h1><bdi>{text(report.title)}</bdi></h1>'
        f'<div class="about">{paragraphs}</div>{verdict}{command}'
        f"{results_page.cards(report.results)}</header>"
    )


def _curves(report: Report) -> str:
    drawn = "".join(f'<div class="curve">{chart.draw(curve)}</div>' for curve in report.curves)
    return f'<div class="curves">{drawn}</div>' if drawn else ""


def _run(report: Report) -> str:
    groups = "".join(_facts(name, values) for name, values in report.facts.items() if values)
    facts = f'<div class="facts">{groups}</div>' if groups else ""
    config = _folded("Config", _scrolled(f"<pre><code>{text(report.config)}</code></pre>", "Config"))
    machine = _folded("Environment", _facts("", report.environment))
    return facts + (config if report.config else "") + (machine if report.environment else "")


def _facts(heading: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<div><dt>{breakable(str(name))}</dt><dd><bdi>{text(plain(value) or 'none')}</bdi></dd></div>"
        for name, value in values.items()
    )
    title = f"<h3>{text(heading)}</h3>" if heading else ""
    return f'<div class="fact-group">{title}<dl>{rows}</dl></div>'


def _folded(name: str, content: str) -> str:
    return f'<details class="folded"><summary>{name}</summary>{content}</details>'


def _scrolled(content: str, name: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{content}</div>'
