"""Attention drawn on what was read: on the picture whose patches the keys are, or on the words of a text."""

import numpy as np

from attnkit.inspection.palette import color_image
from attnkit.inspection.report import AttentionMap
from attnkit.inspection.writing import holdable, number, shortened, text, visible

MOST_PICTURES = 48
MOST_WORDS = 1024
FAINT = 0.005
LABEL_COLUMNS = 14


def draw(drawn: AttentionMap, key: str) -> str:
    """Each head's attention on the picture or the text, `#m<key>-<head>`; empty for maps of neither kind.

    On pictures there is one small picture for each query; what it does not attend to is dark. A text is drawn
    for maps of a single query, as a classification has.
    """
    heads = range(np.shape(drawn.weights)[0])
    if drawn.image is not None:
        address = color_image(drawn.image)
        rows, columns = drawn.grid
        shared = (
            f'<svg class="defs" aria-hidden="true"><defs><image id="b{key}" width="{columns}" '
            f'height="{rows}" preserveAspectRatio="none" href="{address}"/></defs></svg>'
        )
        return shared + "".join(_pictures(drawn, head, key) for head in heads)
    if len(drawn.queries) == 1 and 1 < len(drawn.keys) <= MOST_WORDS:
        return "".join(_words(drawn, head, key) for head in heads)
    return ""


def _pictures(drawn: AttentionMap, head: int, key: str) -> str:
    rows, columns = drawn.grid
    weights = np.asarray(drawn.weights, np.float64)[head, :MOST_PICTURES, : rows * columns]
    shown: list[str] = []
    for query, row in zip(drawn.queries, weights, strict=False):
        place = len(shown)
        dark = 235 * (1 - np.sqrt(np.clip(np.where(np.isfinite(row), row, 0), 0, 1)))
        veil = np.zeros((rows, columns, 2), np.uint8)
        veil[..., 1] = np.rint(dark).reshape(rows, columns)
        best = int(np.argmax(row)) if len(row) else 0
        where = f"row {best // columns + 1}, column {best % columns + 1}"
        title = text(f"{visible(query)}: {number(float(row[best]))} on {where}")
        label = text(shortened(visible(query), LABEL_COLUMNS))
        shown.append(
            f'<figure><svg viewBox="0 0 {columns} {rows}" role="img" aria-label="{title}">'
            f'<use href="#b{key}"/><image class="veil" width="{columns}" height="{rows}" '
            f'preserveAspectRatio="none" href="{color_image(veil)}"/>{_evidence(drawn, place)}'
            f"<title>{title}</title></svg><figcaption>{label}</figcaption></figure>"
        )
    left_out = len(drawn.queries) - len(shown)
    note = f'<p class="small-print">{left_out} more rows are left out.</p>' if left_out else ""
    return f'<div class="head" id="m{key}-{head}"><div class="on-image">{"".join(shown)}</div>{note}</div>'


def _evidence(drawn: AttentionMap, query: int) -> str:
    if drawn.evidence is None:
        return ""
    rows, columns = drawn.grid
    known = np.asarray(drawn.evidence, bool)[query, : rows * columns].reshape(rows, columns)
    return "".join(
        f'<rect class="evidence" x="{column}" y="{row}" width="1" height="1"/>'
        for row, column in np.argwhere(known)
    )


def _words(drawn: AttentionMap, head: int, key: str) -> str:
    weights = np.asarray(drawn.weights, np.float64)[head, 0]
    known = np.zeros(len(drawn.keys), bool) if drawn.evidence is None else np.asarray(drawn.evidence, bool)[0]
    gap = "" if any(token[:1] == " " for token in drawn.keys) else " "
    parts = []
    for token, weight, right in zip(drawn.keys, weights, known, strict=True):
        said = text(holdable(token))
        finite = float(weight) if np.isfinite(weight) else 0.0
        if finite < FAINT and not right:
            parts.append(said)
            continue
        kind = "heat known" if right else "heat"
        strength = min(max(finite, 0.0), 1.0) ** 0.5
        title = text(number(float(weight)))
        parts.append(f'<span class="{kind}" style="--w:{strength:.2f}" title="{title}">{said}</span>')
    return f'<div class="head" id="m{key}-{head}"><p class="marked" dir="auto">{gap.join(parts)}</p></div>'
