"""Samples of answers, as HTML: wrong answers first, with pictures and turns of dialogues."""

import difflib
import re
from collections.abc import Sequence

from attnkit.inspection.palette import color_image
from attnkit.inspection.report import Sample
from attnkit.inspection.writing import text

LONGEST_COMPARED = 600
#: least ratio of letters in common of words whose letters are compared
ALIKE = 0.7


def draw(samples: Sequence[Sample]) -> str:
    """All samples; wrong ones first. Empty without any."""
    if not samples:
        return ""
    judged = [sample.right for sample in samples if sample.right is not None]
    said = ""
    if judged:
        said = (
            f"<p>{sum(judged)} of these {len(judged)} are right. About half are chosen among the wrong ones, "
            "which come first.</p>"
        )
    if any(sample.expected is None for sample in samples):
        said += '<p><span class="given">Pale: what the model was given.</span> The rest it wrote.</p>'
    order = sorted(samples, key=lambda sample: sample.right is not False)
    return said + f'<ol class="samples">{"".join(map(_sample, order))}</ol>'


def _sample(sample: Sample) -> str:
    verdict = f'<p class="of">{text(sample.split)}</p>' if sample.split else ""
    if sample.right is not None:
        verdict += (
            '<p class="verdict right"><span aria-hidden="true">✓</span> right</p>'
            if sample.right
            else '<p class="verdict wrong"><span aria-hidden="true">✗</span> wrong</p>'
        )
    if sample.picture is not None:
        address = color_image(sample.picture)
        verdict += f'<img class="given-picture" src="{address}" alt="{text(sample.prompt)}">'
    if sample.expected is None:
        shown = (
            f'<p class="prose" dir="auto"><span class="given">{text(sample.prompt)}</span>'
            f'<span class="written">{text(sample.got)}</span></p>'
        )
        return f'<li class="wide">{verdict}{shown}</li>'
    given = _turns(sample.turns) if sample.turns else _said(sample.prompt)
    if sample.got == sample.expected:
        rows = [("given", given), ("got, as expected", _said(sample.got))]
    else:
        expected, got = _compared(sample.expected, sample.got)
        rows = [("given", given), ("expected", expected), ("got", got)]
    items = "".join(f'<dt>{name}</dt><dd dir="auto">{value}</dd>' for name, value in rows)
    return f"<li>{verdict}<dl>{items}</dl></li>"


def _turns(turns: Sequence[str]) -> str:
    """Turns of a dialogue; the last one is the user's."""
    parts = []
    for place, turn in enumerate(turns):
        side = "user" if (len(turns) - place) % 2 else "system"
        parts.append(f'<span class="turn {side}">{_said(turn)}</span>')
    return "".join(parts)


def _said(value: str) -> str:
    return text(value) if value else '<span class="nothing">nothing</span>'


def _compared(expected: str, got: str) -> tuple[str, str]:
    """Both strings as HTML, with what differs marked: words, or letters of single words much alike."""
    if not expected or not got or max(len(expected), len(got)) > LONGEST_COMPARED:
        return _said(expected), _said(got)
    several = any(" " in one.strip() for one in (expected, got))
    one, other = (re.findall(r"\s+|\S+", part) if several else list(part) for part in (expected, got))
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    if not several and matcher.ratio() < ALIKE:
        return _said(expected), _said(got)
    left, right = [], []
    for kind, a, b, c, d in matcher.get_opcodes():
        left.append(_marked("".join(one[a:b]), kind))
        right.append(_marked("".join(other[c:d]), kind))
    return "".join(left), "".join(right)


def _marked(part: str, kind: str) -> str:
    return text(part) if kind == "equal" or not part else f"<mark>{text(part)}</mark>"
