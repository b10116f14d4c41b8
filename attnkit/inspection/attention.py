"""Attention pictures as HTML: every head of every layer, chosen by radio buttons, without scripts.

Each example shows all its heads as small pictures; the chosen one is drawn large with tokens on both axes.
All pictures together keep to about `ROOM` characters: where maps are too large for that, neighboring tokens
share a cell that shows the heaviest of its weights, fewer cells say their weight and fewer rows can be
tapped, and the page says so.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attnkit.inspection import overlay, taps
from attnkit.inspection.head_scores import shares
from attnkit.inspection.heatmap import Grid, picture, pooled, small_print
from attnkit.inspection.maps import align, head_statistics
from attnkit.inspection.palette import data_image, scale
from attnkit.inspection.report import AttentionMap, MapExample
from attnkit.inspection.writing import cut, number, percent, text

ROOM = 800_000
MOST_HEADS = 512
#: cells along a side; twelve pixels each
MOST_SIDE = 96
#: about the characters of a cell of a picture (at most 4/3), a cell that says its weight, a row to be tapped,
#: a label, a row on the picture that was read, and all else of a head
CELL, HOVER, TAP, LABEL, PICTURE, HEAD = 0.7, 105, 300, 62, 450, 1000


@dataclass(frozen=True)
class Share:
    """The most of one head: cells along a side, cells that say their value, rows to be tapped."""

    side: int
    hovers: int
    taps: int


def draw(examples: tuple[MapExample, ...]) -> str:
    """The pictures of all examples, each in a box that can be folded; the first is open."""
    sides = [[one] if one.beside is None else [one, one.beside] for one in examples]
    most = MOST_HEADS // max(sum(map(len, sides)), 1)
    fitting = [[_fitting(one, most) for one in side] for side in sides]
    share = _share([m for side in fitting for maps in side for _, m in maps])
    boxes, place = [], 0
    for side, fits in zip(sides, fitting, strict=True):
        drawn = []
        for one, maps in zip(side, fits, strict=True):
            drawn.append(_example(one, maps, place, share, place < len(side)))
            place += 1
        boxes.append(drawn[0] if len(drawn) == 1 else f'<div class="side-by-side">{"".join(drawn)}</div>')
    return scale() + "".join(boxes)


def _share(maps: Sequence[AttentionMap]) -> Share:
    shapes = [np.shape(drawn.weights) for drawn in maps]
    labels = sum(min(rows, MOST_SIDE) + min(columns, MOST_SIDE) for _, rows, columns in shapes)
    every = [size for heads, *size in shapes for _ in range(heads)]
    overlaid = sum(
        len(m.weights) * min(len(m.queries), overlay.MOST_PICTURES) for m in maps if m.image is not None
    )
    room = max(ROOM - LABEL * labels - PICTURE * overlaid - HEAD * len(every), ROOM // 4)
    cells = fair([rows * columns for rows, columns in every], int(0.35 * room / CELL))
    side = (
        MOST_SIDE if all(rows * columns <= cells for rows, columns in every) else max(16, math.isqrt(cells))
    )
    drawn = [min(rows, side) * min(columns, side) for rows, columns in every]
    room -= int(sum(drawn) * CELL)
    taps = fair([rows for rows, _ in every], max(int(0.6 * room) // TAP, 0))
    room -= sum(min(rows, taps) for rows, _ in every) * TAP
    return Share(side=min(side, MOST_SIDE), hovers=fair(drawn, max(room // HOVER, 0)), taps=taps)


def fair(wanted: Sequence[int], room: int) -> int:
    """The largest limit with `sum(min(size, limit) for size in wanted) <= room`, at most the largest size.

    >>> fair([2, 9, 9], 10), fair([2, 3], 10)
    (4, 3)
    """
    for place, size in enumerate(sorted(wanted)):
        left = len(wanted) - place
        if size * left > room:
            return room // left
        room -= size
    return max(wanted, default=0)


def _fitting(one: MapExample, most: int) -> list[tuple[int, AttentionMap]]:
    """The maps that fit into `most` heads, the selected one always among them, each with its index."""
    order = sorted(range(len(one.maps)), key=lambda index: index != one.selected[0])
    fitting: list[int] = []
    heads = 0
    for index in order:
        heads += np.shape(one.maps[index].weights)[0]
        if heads <= most or not fitting:
            fitting.append(index)
    return [(index, one.maps[index]) for index in sorted(fitting)]


def _example(
    one: MapExample, maps: list[tuple[int, AttentionMap]], place: int, share: Share, is_open: bool
) -> str:
    radios, rows, panels, images, rules = [], [], [], [], []
    for index, drawn in maps:
        grid = pooled(drawn, share.side)
        labels = []
        for head in range(len(grid.weights)):
            key = f"{place}-{index}-{head}"
            checked = " checked" if (index, head) == one.selected else ""
            name = text(f"{drawn.name}, {drawn.head_name(head)}")
            short = text(drawn.head_name(head).rpartition(".")[2])
            radios.append(f'<input type="radio" class="pick" name="look{place}" id="r{key}"{checked}>')
            labels.append(
                f'<label for="r{key}" title="{name}"><svg class="thumb" viewBox="0 0 1 1" '
                f'preserveAspectRatio="none" aria-hidden="true"><use class="tint" href="#i{key}"/></svg>'
                f'<span class="hidden">{name}</span><span aria-hidden="true">{short}</span></label>'
            )
            images.append(
                f'<image id="i{key}" width="1" height="1" preserveAspectRatio="none" '
                f'href="{data_image(np.where(grid.wrong[head], 0, grid.weights[head]))}"/>'
            )
            rules.append(_rule(key, f"{place}-{index}"))
        opened = " opened" if index == one.selected[0] else ""
        rows.append(
            f'<div class="map-row{opened}"><span>{text(drawn.name)}</span><div>{"".join(labels)}</div></div>'
        )
        panels.append(_panel(drawn, grid, f"{place}-{index}", share))
    note = f"<p>{text(one.note)}</p>" if one.note else ""
    left_out = len(one.maps) - len(maps)
    note += (
        f"<p>{left_out} of {len(one.maps)} maps are left out to keep the page small.</p>" if left_out else ""
    )
    most = max((np.shape(drawn.weights)[0] for _, drawn in maps), default=0)
    thumb = 44 if most <= 4 else 34
    sizes = f"--thumb:{thumb}px;--wide:{max(235, min(most, 8) * (thumb + 10))}px"
    return (
        f'<details class="look"{" open" if is_open else ""}>'
        f"<summary><bdi>{text(cut(one.title))}</bdi></summary>"
        f"{note}<style>{''.join(rules)}</style>"
        f'<svg class="defs" aria-hidden="true"><defs>{"".join(images)}</defs></svg>'
        f'<div class="picker" role="radiogroup" aria-label="Layer and head">{"".join(radios)}'
        f'<div class="maps" style="{sizes}">{"".join(rows)}</div>'
        f'<div class="panels">{"".join(panels)}</div></div></details>'
    )


def _rule(key: str, panel: str) -> str:
    return (
        f"#r{key}:checked~.panels :is(#p{panel},#g{key},#f{key},#m{key},#t{key}){{display:block}}"
        f"#r{key}:checked~.maps [for=r{key}]{{color:var(--ink)}}"
        f"#r{key}:checked~.maps [for=r{key}] svg{{outline:2px solid var(--accent);outline-offset:2px}}"
        f"#r{key}:focus-visible~.maps [for=r{key}]{{background:var(--focus)}}\n"
    )


def _panel(drawn: AttentionMap, grid: Grid, key: str, share: Share) -> str:
    facts = "".join(_facts(drawn, grid, head, f"{key}-{head}") for head in range(len(grid.weights)))
    return (
        f'<section class="panel" id="p{key}"><h3>{text(drawn.name)}</h3>'
        f"{facts}{overlay.draw(drawn, key)}"
        f"{picture(drawn, grid, key, share.hovers)}{small_print(drawn, grid, share.hovers)}"
        f"{taps.draw(drawn, key, share.taps)}</section>"
    )


def _statistics(drawn: AttentionMap, weights: np.ndarray) -> Iterator[tuple[str, str]]:
    """The numbers that the kind of the map has a meaning for."""
    sizes = np.abs(weights)
    if drawn.kind != "distribution":
        yield "sum of a row", number(float(np.mean(weights.sum(axis=-1))))
    if drawn.kind == "signed":
        total = float(sizes.sum())
        yield "negative share", text(percent(float(sizes[weights < 0].sum()) / total if total else math.nan))
    of = "" if drawn.kind == "distribution" else " of sizes"
    statistics = head_statistics(weights if drawn.kind == "distribution" else shares(weights))
    even = f" <span>(uniform {number(_uniform_entropy(drawn))})</span>"
    yield f"entropy{of} in nats", number(float(statistics.entropy)) + even
    if drawn.queries == drawn.keys:
        yield "mean distance", f"{number(float(statistics.distance))} tokens"


def _facts(drawn: AttentionMap, grid: Grid, head: int, key: str) -> str:
    weights = np.asarray(drawn.weights, dtype=np.float64)[head]
    facts = [("head", text(drawn.head_name(head)))]
    if weights.size:
        facts += list(_statistics(drawn, weights))
    if drawn.evidence is not None and np.any(drawn.evidence):
        sizes = weights if drawn.kind == "distribution" else shares(weights)
        found = align(sizes, drawn.evidence, drawn.allowed)
        control = f" <span>(uniform {text(percent(found.chance))})</span>"
        facts.append(
            (f"heaviest key is evidence, {found.rows} rows", text(percent(found.accuracy)) + control)
        )
        facts.append(("weight on evidence", text(percent(found.mass)) + control))
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="head-facts" id="f{key}">{items}</dl>'


def _uniform_entropy(drawn: AttentionMap) -> float:
    """Mean entropy of rows that attend evenly to all keys they may attend to, in nats."""
    allowed = np.ones(np.shape(drawn.weights)[1:]) if drawn.allowed is None else np.asarray(drawn.allowed)
    counts = allowed.sum(axis=-1)
    return float(np.log(counts[counts > 0]).mean()) if counts.any() else math.nan
