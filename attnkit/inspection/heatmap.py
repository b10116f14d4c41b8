"""One attention map drawn large: heads on one pair of axes, tokens along both, weights on pointing."""

import math
from dataclasses import dataclass

import numpy as np

from attnkit.inspection.report import AttentionMap
from attnkit.inspection.writing import number, shortened, text, visible, width

LABEL_COLUMNS = 16
LETTER = 6.7
SLANT = math.radians(50)


@dataclass(frozen=True)
class Grid:
    """A map as it is drawn: `row` queries and `column` keys a cell.

    `weights` is `[heads, rows, columns]` float64, the heaviest of each cell; `wrong` the cells with a weight
    that is not finite; `queries` and `keys` label rows and columns.
    """

    weights: np.ndarray
    wrong: np.ndarray
    evidence: np.ndarray | None
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    row: int
    column: int


def pooled(drawn: AttentionMap, side: int) -> Grid:
    """`drawn` with at most `side` cells along each axis, each showing the heaviest of its weights."""
    weights = np.asarray(drawn.weights, dtype=np.float64)
    weights = weights if drawn.kind == "distribution" else np.abs(weights)
    row, column = (max(1, math.ceil(size / side)) for size in weights.shape[1:])
    starts = (np.arange(0, weights.shape[1], row), np.arange(0, weights.shape[2], column))

    def pool(ufunc: np.ufunc, values: np.ndarray) -> np.ndarray:
        if not values.size:
            return values
        return ufunc.reduceat(ufunc.reduceat(values, starts[0], axis=-2), starts[1], axis=-1)

    return Grid(
        weights=pool(np.maximum, weights),
        wrong=pool(np.logical_or, ~np.isfinite(weights)),
        evidence=None
        if drawn.evidence is None
        else pool(np.logical_or, np.asarray(drawn.evidence, dtype=bool)),
        queries=_joined(drawn.queries, row),
        keys=_joined(drawn.keys, column),
        row=row,
        column=column,
    )


def picture(drawn: AttentionMap, grid: Grid, key: str, hovers: int) -> str:
    """All heads of a map on their axes, for a style rule to show one of them.

    Args:
        drawn: the map.
        grid: the same, `pooled`.
        key: what the ids end in: head `h` is `#g<key>-<h>`, and shows the image `#i<key>-<h>`.
        hovers: how many of a head's cells, the heaviest first, say their weight when pointed at.
    """
    rows, columns = len(grid.queries), len(grid.keys)
    cell = 22 if max(rows, columns) <= 24 else 16 if max(rows, columns) <= 60 else 12
    keys = [shortened(label, LABEL_COLUMNS) for label in grid.keys]
    queries = [shortened(label, LABEL_COLUMNS) for label in grid.queries]
    longest = max(map(width, keys), default=0)
    top = 22 if longest <= 1 else math.ceil(longest * LETTER * math.sin(SLANT)) + 16
    right = 8 if longest <= 1 else math.ceil(longest * LETTER * math.cos(SLANT)) + 4
    left = math.ceil(max(map(width, queries), default=0) * LETTER) + 14
    across, down = columns * cell, rows * cell
    heads = "".join(_head(drawn, grid, head, f"{key}-{head}", hovers) for head in range(len(grid.weights)))
    axes = f"<span>↓ {text(drawn.query_axis)}</span><span>→ {text(drawn.key_axis)}</span>"
    return (
        f'<p class="axes">{axes}</p><div class="scroll map" tabindex="0" role="region" '
        f'aria-label="{text(drawn.name)}: rows are {text(drawn.query_axis)}, columns {text(drawn.key_axis)}">'
        f'<svg class="rows" width="{left}" height="{top + down + 8}">'
        f"{_row_labels(grid, queries, left, top, cell)}</svg>"
        f'<svg class="cells" width="{across + right}" height="{top + down + 8}">'
        f"{_column_labels(grid, keys, top, cell)}"
        f'<svg y="{top}" width="{across}" height="{down}" viewBox="0 0 {columns} {rows}" '
        f'preserveAspectRatio="none">{heads}{_outlines(grid)}</svg>'
        f'<rect class="frame" x=".5" y="{top - 0.5}" width="{across}" height="{down}"/></svg></div>'
    )


def small_print(drawn: AttentionMap, grid: Grid, hovers: int) -> str:
    """The caption of a picture: what is outlined, pooled, hatched or beyond the scale."""
    said = []
    if grid.evidence is not None and grid.evidence.any():
        said.append('<span class="key-evidence"></span> outlined: the places known to decide the row.')
    if grid.row > 1 or grid.column > 1:
        said.append(
            f"{len(drawn.queries)} by {len(drawn.keys)} weights are drawn as {len(grid.queries)} by "
            f"{len(grid.keys)} cells; each shows the heaviest of up to {grid.row} by {grid.column}."
        )
    cells = grid.weights[0].size if len(grid.weights) else 0
    which = "any cell" if hovers >= cells else f"one of the {hovers} heaviest cells of a head"
    if hovers:
        said.append(f"Point at {which} for its weight.")
    wrong = np.count_nonzero(grid.wrong, axis=(1, 2))
    if wrong.any():
        said.append(f"Hatched: weights that are NaN or infinite (up to {wrong.max()} cells of a head).")
    outside = np.count_nonzero((grid.weights < 0) | ((grid.weights > 1 + 1e-3) & ~grid.wrong))
    if drawn.kind == "signed":
        said.append("Weights may be negative: cells show their sizes.")
    if outside:
        said.append(f"{outside} cells lie outside 0 to 1 and are drawn as the nearer end of the scale.")
    return f'<p class="small-print">{" ".join(said)}</p>'


def _joined(tokens: tuple[str, ...], block: int) -> tuple[str, ...]:
    seen = [visible(token) for token in tokens]
    return tuple("".join(seen[at : at + block]) for at in range(0, len(seen), block))


def _row_labels(grid: Grid, labels: list[str], left: int, top: int, cell: int) -> str:
    return "".join(
        f'<text class="token" x="{left - 7}" y="{top + (row + 0.5) * cell + 4:g}" text-anchor="end">'
        f"{_label(label, whole)}</text>"
        for row, (label, whole) in enumerate(zip(labels, grid.queries, strict=True))
    )


def _column_labels(grid: Grid, labels: list[str], top: int, cell: int) -> str:
    parts = []
    for column, (label, whole) in enumerate(zip(labels, grid.keys, strict=True)):
        x = (column + 0.5) * cell
        place = (
            f'x="{x:g}" y="{top - 7}" text-anchor="middle"'
            if width(label) <= (1 if cell < 22 else 2)
            else f'transform="translate({x + 3:g} {top - 7}) rotate({-math.degrees(SLANT):.0f})"'
        )
        parts.append(f'<text class="token" {place}>{_label(label, whole)}</text>')
    return "".join(parts)


def _label(label: str, whole: str) -> str:
    title = f"<title>{text(whole)}</title>" if label != whole else ""
    return title + text(label)


def _head(drawn: AttentionMap, grid: Grid, head: int, key: str, hovers: int) -> str:
    weights, wrong = grid.weights[head], grid.wrong[head]
    rows, columns = weights.shape
    order = np.argsort(np.where(wrong, np.inf, -weights), axis=None, kind="stable")
    order = order[: min(hovers, np.count_nonzero(~wrong))]
    cells: list[str] = []
    said: list[str] = []
    for row, column in zip(*np.unravel_index(order, weights.shape), strict=True):
        title = _cell_title(grid, head, row, column)
        cells.append(f'<rect x="{column}" y="{row}" width="1" height="1"><title>{text(title)}</title></rect>')
        if len(said) < 5:
            said.append(title)
    bad = [
        f'<rect class="bad-cell" x="{start}" y="{row}" width="{length}" height="1">'
        "<title>NaN or infinite</title></rect>"
        for row, start, length in _runs(wrong)
    ]
    described = f"{drawn.name}, {drawn.head_name(head)}. Heaviest: {'; '.join(said)}"
    return (
        f'<g class="head" id="g{key}" role="img" aria-label="{text(described)}"><g class="tint">'
        f'<use href="#i{key}" transform="scale({columns} {rows})"/></g>{"".join(bad)}'
        f'<g class="hovers">{"".join(cells)}</g></g>'
    )


def _cell_title(grid: Grid, head: int, row: int, column: int) -> str:
    query = shortened(grid.queries[row], LABEL_COLUMNS)
    key = shortened(grid.keys[column], LABEL_COLUMNS)
    known = " (evidence)" if grid.evidence is not None and grid.evidence[row, column] else ""
    return f"{query} → {key}: {number(float(grid.weights[head, row, column]))}{known}"


def _outlines(grid: Grid) -> str:
    if grid.evidence is None:
        return ""
    boxes: dict[tuple[int, int, int], int] = {}
    for row, start, length in _runs(grid.evidence):
        first = next((key[0] for key, end in boxes.items() if key[1:] == (start, length) and end == row), row)
        boxes[first, start, length] = row + 1
    return "".join(
        f'<rect class="evidence" x="{start}" y="{row}" width="{length}" height="{end - row}"/>'
        for (row, start, length), end in boxes.items()
    )


def _runs(table: np.ndarray) -> list[tuple[int, int, int]]:
    """Row, first column and length of every run of True in the rows of `table`."""
    padded = np.pad(table.astype(np.int8), ((0, 0), (1, 1)))
    edges = np.diff(padded, axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return [(int(row), int(a), int(b - a)) for (row, a), (_, b) in zip(starts, ends, strict=True)]
