"""A circuit as a graph in SVG: layers from the bottom up, heads beside each other, the logits on top."""

from attnkit.inspection.circuits import Circuit
from attnkit.inspection.interventions import LOGITS, Edge
from attnkit.inspection.maps import Head
from attnkit.inspection.writing import number, text

ACROSS, DOWN, WIDE, HIGH, MARGIN = 112, 84, 84, 28, 14
#: How far an edge past a layer is drawn to the side: its middle passes between two heads.
ASIDE = ACROSS / 2 / 0.75
#: Edges of the largest graph that is drawn; of larger ones the strongest.
MOST_EDGES = 60


def draw(circuit: Circuit) -> str:
    """The graph, thicker lines for larger effects, and its edges as a list behind it."""
    if not circuit.edges:
        return f'<p class="nothing">No edge has an effect of {number(circuit.threshold)} or more.</p>'
    edges = dict(list(circuit.edges.items())[:MOST_EDGES])
    heads = sorted({head for edge in edges for head in (edge.sender, edge.receiver) if head is not None})
    rows = [[head for head in heads if head.map == layer] for layer in layers(heads, edges)]
    most = max(map(len, rows))
    width, height = most * ACROSS + 2 * MARGIN, (len(rows) + 1) * DOWN
    places: dict[Head | None, tuple[float, float]] = {None: (width / 2, DOWN / 2)}  # the logits
    for n, row in enumerate(rows):
        for place, head in enumerate(row):
            x = width / 2 + (place - (len(row) - 1) / 2) * ACROSS
            places[head] = (x, height - (n + 0.5) * DOWN)
    largest = max(edges.values()) or 1.0
    lines = "".join(
        line(edge, effect, effect / largest, places[edge.sender], places[edge.receiver])
        for edge, effect in edges.items()
    )
    boxes = "".join(box(str(head or LOGITS), *place) for head, place in places.items())
    left_out = len(circuit.edges) - len(edges)
    more = f" {left_out} weaker edges are not drawn." if left_out else ""
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Circuit">'
        f'<svg class="circuit" {size} role="img" aria-label="{len(edges)} edges between {len(heads)} heads '
        f'and the logits">{lines}{boxes}</svg></div><p class="small-print">Edges whose sender\'s output on '
        f"another example, alone, changes the answer by {number(circuit.threshold)} or more; q, k and v say "
        f"which input of the receiver it reaches.{more} Point at an edge for its effect.</p>"
    )


def layers(heads: list[Head], edges: dict[Edge, float]) -> list[str]:
    """Paths of layers from the bottom up: each after all that send to it, otherwise by name."""
    left, found = sorted({head.map for head in heads}), list[str]()
    below = {(e.receiver.map, e.sender.map) for e in edges if e.receiver is not None}
    while left:
        free = next(name for name in left if not any((name, other) in below for other in left))
        left.remove(free)
        found.append(free)
    return found


def line(
    edge: Edge, effect: float, share: float, start: tuple[float, float], end: tuple[float, float]
) -> str:
    """One edge with its input's name near the receiver; inputs arrive beside each other."""
    (x0, y0), (x1, y1) = (start[0], start[1] - HIGH / 2), (end[0], end[1] + HIGH / 2)
    named = edge.receiver is not None
    x1 += {"q": -24, "k": 0, "v": 24}.get(edge.by, 12) if named else 0
    bend = (y0 - y1) / 2
    aside = ASIDE if start[1] - end[1] > DOWN else 0
    path = f"M{x0:g} {y0:g}C{x0 - aside:g} {y0 - bend:g} {x1 - aside:g} {y1 + bend:g} {x1:g} {y1:g}"
    title = text(f"{edge}: {number(effect)}")
    label = f'<text x="{x1 + 5:g}" y="{y1 + 14:g}">{text(edge.by)}</text>' if named else ""
    return (
        f'<g class="edge"><title>{title}</title><path d="{path}" '
        f'stroke-width="{1 + 4 * share:.2f}"/>{label}</g>'
    )


def box(name: str, x: float, y: float) -> str:
    """One node."""
    return (
        f'<g class="node"><rect x="{x - WIDE / 2:g}" y="{y - HIGH / 2:g}" width="{WIDE}" height="{HIGH}" '
        f'rx="7"/><text x="{x:g}" y="{y + 4:g}" text-anchor="middle">{text(name)}</text></g>'
    )
