"""Views in a notebook and the drawing of circuits: the page's own builders, in a frame that runs nothing."""

import re

import pytest
from page_reader import HOSTILE, attention_map, read

from attnkit.inspection import circuit_picture
from attnkit.inspection.circuits import Circuit
from attnkit.inspection.heads_page import HeadFinding, HeadReport
from attnkit.inspection.interventions import LOGITS, Edge
from attnkit.inspection.maps import Head
from attnkit.inspection.planted import CIRCUITS, head
from attnkit.inspection.report import MapExample

pytestmark = pytest.mark.one_python
PLANTED = Circuit(
    {edge: 0.5 + 0.1 * n for n, edge in enumerate(sorted(CIRCUITS["two hops"][1], key=str))}, 0.5
)


def inside(view):
    """The page in the frame of a view."""
    outer = read(view._repr_html_())
    assert outer.tags == ["iframe"]
    attributes = dict(outer.attributes)
    assert attributes["sandbox"] is None  # nothing is allowed
    return attributes["srcdoc"]


def test_maps_heads_and_circuits_show_what_the_page_shows():
    drawn = attention_map(tuple("ab"))
    assert "Attention" in read(inside(drawn)).texts["h2"]
    assert inside(MapExample("cross", (drawn,))) == inside(drawn)
    finding = HeadFinding("L0H1", "", None, None, None, 1.5, None, "matters")
    assert "L0H1" in read(inside(HeadReport((finding,)))).texts["th"]
    assert read(inside(PLANTED)).texts["title"][1:] == [
        f"{edge}: {effect:.4f}" for edge, effect in PLANTED.edges.items()
    ]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_view_holds_no_element_of_the_data(hostile):
    drawn = attention_map((hostile, "b"), name=hostile)
    expected = read(inside(attention_map(("x" * len(hostile), "b"), name="x" * len(hostile)))).tags
    page = inside(drawn)
    assert [t for t in read(page).tags if t != "title"] == [t for t in expected if t != "title"]
    circuit = Circuit({Edge(Head(f"{hostile}.0.self", 0), None, LOGITS): 1.0}, 0.5)
    assert "script" not in read(inside(circuit)).tags


def test_a_circuit_is_drawn_with_every_head_above_those_that_send_to_it():
    reader = read(circuit_picture.draw(PLANTED))
    assert reader.texts["text"] == [*"kkq", LOGITS, "L0H0", "L1H1", "L2H0"]
    place = dict(zip([LOGITS, "L0H0", "L1H1", "L2H0"], boxes(circuit_picture.draw(PLANTED)), strict=True))
    assert place[LOGITS] < place["L2H0"] < place["L1H1"] < place["L0H0"]
    widths = [float(value) for name, value in reader.attributes if name == "stroke-width"]
    assert widths == sorted(widths) and widths[-1] == 5  # the largest effect is the thickest line
    # Layers are ordered by their edges, not by their names.
    other = Circuit({Edge(Head("z.0.self", 0), Head("a.0.cross", 1), "k"): 1.0}, 0.5)
    top, low = (
        [text for text in read(circuit_picture.draw(other)).texts["text"] if "L0" in text],
        boxes(circuit_picture.draw(other)),
    )
    assert top == ["z.L0H0", "a.cross.L0H1"] and low[1] > low[2]


def boxes(drawn):
    """The heights of the nodes, from the top."""
    return [float(y) for y in re.findall(r'<rect x="[^"]*" y="([^"]*)"', drawn)]


def test_empty_and_large_circuits_say_so():
    assert "No edge has an effect of 0.5000 or more" in circuit_picture.draw(Circuit({}, 0.5))
    many = {Edge(head(0, n), head(1, m), "q"): 1.0 for n in range(8) for m in range(8)}
    drawn = circuit_picture.draw(Circuit(many, 0.5))
    assert (
        drawn.count('class="edge"') == circuit_picture.MOST_EDGES and "4 weaker edges are not drawn" in drawn
    )
