"""The rows of a map as words, one at a time: tap a token to see the keys that it attends to most."""

import numpy as np

from attnkit.inspection.report import AttentionMap
from attnkit.inspection.writing import number, shortened, text, visible

#: keys that a row names
KEYS = 5
LABEL_COLUMNS = 14


def draw(drawn: AttentionMap, key: str, most: int) -> str:
    """For each head, `#t<key>-<head>`: queries as buttons, and the heaviest keys of the one that is tapped.

    Args:
        drawn: the map.
        key: what the ids end in.
        most: how many rows of a head are drawn.
    """
    if len(drawn.queries) < 2 or most < 2:
        return ""
    heads = range(np.shape(drawn.weights)[0])
    return "".join(_head(drawn, head, f"{key}-{head}", most) for head in heads)


def _head(drawn: AttentionMap, head: int, key: str, most: int) -> str:
    rows = np.asarray(drawn.weights, np.float64)[head, :most]
    parts = []
    for place, (query, row) in enumerate(zip(drawn.queries, rows, strict=False)):
        label = text(shortened(visible(query), LABEL_COLUMNS))
        parts.append(
            f'<label><input type="radio" name="t{key}">{label}</label>'
            f'<span class="looked">{_row(drawn, place, row)}</span>'
        )
    left_out = len(drawn.queries) - len(rows)
    note = f" The last {left_out} are left out to keep the page small." if left_out else ""
    return (
        f'<div class="head" id="t{key}"><p class="small-print">Tap a token to see the heaviest keys of its '
        f'row.{note}</p><div class="taps" role="radiogroup" '
        f'aria-label="Rows of {text(drawn.head_name(head))}">{"".join(parts)}</div></div>'
    )


def _row(drawn: AttentionMap, place: int, row: np.ndarray) -> str:
    sizes = np.where(np.isfinite(row), np.abs(row), np.inf)
    known = np.zeros(len(row), bool) if drawn.evidence is None else np.asarray(drawn.evidence, bool)[place]
    said = []
    for key in np.argsort(-sizes, kind="stable")[:KEYS]:
        if row[key] == 0:
            break
        kind = ' class="known"' if known[key] else ""
        strength = f"{min(float(sizes[key]), 1.0) ** 0.5:.2f}".lstrip("0")
        name = text(shortened(visible(drawn.keys[key]), LABEL_COLUMNS))
        said.append(f'<b{kind} style="--w:{strength}">{name} <i>{number(float(row[key]))}</i></b>')
    return "".join(said) or "nothing"
