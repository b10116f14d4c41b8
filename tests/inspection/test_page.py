import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, strategies
from page_reader import HOSTILE, attention_map, read

from attnkit.errors import DataError
from attnkit.inspection.circuits import Circuit
from attnkit.inspection.heads_page import (
    Attribution,
    Beside,
    Change,
    HeadFinding,
    HeadReport,
    Matrix,
)
from attnkit.inspection.heatmap import pooled
from attnkit.inspection.interventions import LOGITS, Edge
from attnkit.inspection.maps import Head
from attnkit.inspection.page import render
from attnkit.inspection.report import (
    AttentionMap,
    Confusion,
    Curve,
    Line,
    MapExample,
    Report,
    Result,
    Sample,
)
from attnkit.inspection.writing import DASH, holdable, number, percent, shortened, text, visible

pytestmark = pytest.mark.one_python


def full_report(words):
    """A report in which every string comes from `words(kind)`."""
    tokens = tuple(words(f"token{i}") for i in range(5))
    drawn = AttentionMap(
        words("map"),
        np.full((2, 5, 5), 0.2),
        tokens,
        tokens,
        words("rows"),
        words("columns"),
        np.eye(5, dtype=bool),
    )
    return Report(
        title=words("title"),
        about=words("about"),
        verdict=words("verdict"),
        command=words("command"),
        facts={
            words("group"): {words("fact"): words("value"), words("list"): [words("item"), 3, None, True]}
        },
        results=(
            Result(words("metric"), 0.5, words("split"), 0.1, 1.0, "fraction", True, words("note")),
            Result(words("metric"), float("nan"), words("split"), note=words("note")),
            Result(words("other"), 0.25, words("split"), unit="fraction", interval=(0.2, 0.3125)),
        ),
        confusion=(
            Confusion(words("split"), (words("class"), words("answer")), np.array([[3, 1], [0, 5]])),
            Confusion(words("far"), (words("class"), words("answer")), np.array([[3, 1], [0, 5]])),
        ),
        curves=(
            Curve(
                words("curve"),
                (Line(words("line"), [1, 2], [2.0, 1.0]),),
                0.5,
                words("floor"),
                horizontal=words("step"),
            ),
        ),
        samples=(
            Sample(words("prompt"), words("got"), words("expected"), False, words("split")),
            Sample(words("prompt"), words("got"), words("got"), True),
            Sample(words("prompt"), words("got")),
            Sample(words("prompt"), words("got"), words("got"), True, turns=(words("turn"), words("turn"))),
            Sample(words("prompt"), words("got"), words("got"), picture=np.zeros((2, 3, 3), np.uint8)),
        ),
        heads=HeadReport(
            (
                HeadFinding("L0H1", words("kind"), 0.45, 0.4, 0.15, 1.5, (1.0, 2.0), words("verdict")),
                HeadFinding("L0H0", "", None, None, None, float("nan"), (0.0, 0.0), "idle"),
            ),
            Beside(
                (words("run"), words("run")),
                (("L0H1", (HeadFinding("L0H1", "", None, None, None, 1.0, None, words("verdict")), None)),),
            ),
            (Matrix(words("matrix"), (words("layer"),), np.array([[np.nan, -2.0]])),),
            (Change(words("change"), -0.1, -2.0),),
            (Attribution(words("example"), tokens, ((words("method"), np.arange(5) - 2.0),)),),
            ((words("circuit"), Circuit({Edge(Head(words("path"), 0), None, LOGITS): 1.0}, 0.5)),),
            (words("note"),),
        ),
        attention=(MapExample(words("look"), (drawn,), (0, 1), words("note")),),
        config=words("config"),
        environment={words("package"): words("version")},
    )


def tags_of(page):
    reader = read(page)
    return reader.tags, [name for name, _ in reader.attributes]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_element_comes_from_data(hostile):
    tags, names = tags_of(render(full_report(lambda kind: hostile)))
    plain = "x" * len(hostile)
    expected_tags, expected_names = tags_of(render(full_report(lambda kind: plain)))
    without = [t for t in tags if t not in ("mark", "title", "wbr")]
    assert without == [t for t in expected_tags if t not in ("mark", "title", "wbr")]
    assert names == expected_names
    assert "script" not in tags


@given(strategies.text(strategies.characters(exclude_categories=())))
def test_any_text_survives_escaping_in_content_and_in_attributes(value):
    page = f'<p title="{text(value)}">{text(value)}</p>'
    reader = read(page)
    assert reader.texts["p"] == [holdable(value)]
    assert reader.attributes == [("title", holdable(value))]
    page.encode("utf-8")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_in_the_page_equals_the_text_given(hostile):
    page = render(full_report(lambda kind: hostile))
    page.encode("utf-8")
    texts = read(page).texts
    whole = holdable(hostile)
    assert texts["h1"] == [whole]
    assert texts["title"][0] == whole
    assert texts["code"] == [whole, whole]
    assert texts["dd"].count(whole) >= 4
    token = holdable(visible(hostile))
    assert token + shortened(token, 16) in texts["text"] or token in texts["text"]


def test_the_page_loads_nothing_and_runs_nothing():
    page = render(full_report(lambda kind: "https://example.com/a.js"))
    reader = read(page)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "audio", "video"} & set(
        reader.tags
    )
    for name, value in reader.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith(("data:image/png;base64,", "#"))
    assert "default-src 'none'" in page
    styles = "".join(reader.texts["style"])
    assert "@import" not in styles
    assert set(re.findall(r"url\(([^)]*)\)", styles)) <= {"#tint-light", "#tint-dark", "#hatch"}
    assert "example.com" not in styles


def test_ids_are_unique_and_every_reference_has_one():
    reader = read(render(full_report(lambda kind: kind)))
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for name, value in reader.attributes:
        if name in ("for", "aria-labelledby") or (name == "href" and value.startswith("#")):
            assert value.removeprefix("#") in ids


def test_the_same_report_gives_the_same_page():
    assert render(full_report(lambda kind: kind)) == render(full_report(lambda kind: kind))


def test_a_bare_report_renders_without_empty_sections():
    reader = read(render(Report(title="bare")))
    assert "h2" not in reader.tags


def test_numbers_stand_beside_their_floors():
    page = render(full_report(lambda kind: kind))
    reader = read(page)
    assert "floor 10.0\u202f%" in " ".join(reader.texts["p"])
    assert reader.texts["td"].count("50.0\u202f%NaN") == 1
    assert "25.0\u202f%20.0\u202f% to 31.2\u202f%" in reader.texts["td"]
    assert {"50.0\u202f%", "NaN"} <= set(reader.texts["b"])
    assert '<p class="value"><span class="number">' in page and ".number{white-space:nowrap;" in page


def test_verdicts_are_words():
    verdicts = [p for p in read(render(full_report(lambda kind: kind))).texts["p"] if p[:1] in "✓✗"]
    assert verdicts == ["✗ wrong", "✓ right", "✓ right"]


def test_empty_tokens_and_white_space_are_visible():
    drawn = attention_map(("", " ", "\n", "\t", "a b"))
    texts = read(render(Report("t", attention=(MapExample("l", (drawn,)),)))).texts["text"]
    assert texts == ["∅", "␣", "↵", "⇥", "a␣b"] * 2


def test_language_model_reports_need_no_source():
    drawn = attention_map(tuple("To be"), allowed=np.tril(np.ones((5, 5), bool)))
    report = Report(
        "text", samples=(Sample("To be", " or\n not"),), attention=(MapExample("To be", (drawn,)),)
    )
    reader = read(render(report))
    assert "To be or\n not" in reader.texts["p"]
    assert not any("right" in p for p in reader.texts["p"])
    assert any("mean distance" in dt for dt in reader.texts["dt"])
    uniform = np.log([1, 2, 3, 4, 5]).mean()
    assert all(f"(uniform {uniform:.4f})" in dd for dd in reader.texts["dd"] if "uniform" in dd)


def test_the_alignment_of_a_head_stands_beside_uniform_attention():
    weights = np.stack([np.eye(3, 5), np.eye(3, 5)[:, ::-1]])
    drawn = AttentionMap("cross", weights, ("a", "b", "c"), tuple("vwxyz"), evidence=np.eye(3, 5, dtype=bool))
    facts = read(render(Report("t", attention=(MapExample("l", (drawn,)),)))).texts["dd"]
    assert facts.count("100.0\u202f% (uniform 20.0\u202f%)") == 2
    assert facts.count("33.3\u202f% (uniform 20.0\u202f%)") == 2


def test_what_is_said_of_a_map_depends_on_its_kind():
    weights = np.array([[[0.5, -1.5], [2.0, 0.0]]])
    drawn = AttentionMap("m", weights, ("a", "b"), ("a", "b"), kind="signed", heads=("L3H0",))
    reader = read(render(Report("t", attention=(MapExample("l", (drawn,)),))))
    facts = dict(zip(reader.texts["dt"], reader.texts["dd"], strict=False))
    assert facts["head"] == "L3H0"
    assert facts["sum of a row"] == "0.5000"  # the mean of -1 and 2
    assert facts["negative share"] == "37.5\u202f%"  # 1.5 of 4
    assert facts["entropy of sizes in nats"].startswith("0.2812")  # of 1/4 and 3/4, and of 1: half of 0.5623
    assert any("cells show their sizes" in p for p in reader.texts["p"])
    plain = read(
        render(Report("t", attention=(MapExample("l", (dataclasses.replace(drawn, kind="share"),)),)))
    )
    assert "negative share" not in plain.texts["dt"] and "sum of a row" in plain.texts["dt"]


def test_cells_say_their_weight_and_evidence():
    weights = np.array([[[0.75, 0.25], [0.5, 0.5]]])
    drawn = AttentionMap("cross", weights, ("ja", "nein"), ("yes", "no"), evidence=np.eye(2, dtype=bool))
    titles = read(render(Report("t", attention=(MapExample("l", (drawn,)),)))).texts["title"]
    assert "ja → yes: 0.7500 (evidence)" in titles
    assert "ja → no: 0.2500" in titles


def test_weights_that_are_not_finite_are_shown_as_such():
    weights = np.full((1, 2, 3), 1 / 3)
    weights[0, 1] = [np.nan, np.inf, 0.5]
    drawn = AttentionMap("cross", weights, ("a", "b"), ("x", "y", "z"))
    reader = read(render(Report("t", attention=(MapExample("l", (drawn,)),))))
    assert "NaN or infinite" in reader.texts["title"]
    assert ("class", "bad-cell") in reader.attributes
    assert any("Hatched" in p for p in reader.texts["p"])


def test_pooled_cells_show_the_heaviest_weight():
    weights = np.zeros((1, 5, 3))
    weights[0, 3, 1] = 0.9
    weights[0, 4, 0] = 0.3
    weights[0, 4, 2] = np.nan
    grid = pooled(AttentionMap("m", weights, tuple("abcde"), tuple("x y"), evidence=weights[0] > 0.5), 2)
    assert grid.weights.shape == (1, 2, 2)
    assert grid.weights[0, 1, 0] == 0.9
    assert grid.wrong[0].tolist() == [[False, False], [False, True]]
    assert grid.evidence.tolist() == [[False, False], [True, False]]
    assert (grid.queries, grid.keys) == (("abc", "de"), ("x␣", "y"))


@pytest.mark.parametrize("heads", [(0, 2), (1, 0), (-1, 0)])
def test_a_selection_that_does_not_exist_is_refused(heads):
    with pytest.raises(DataError, match="expected the index of one of 1 maps"):
        MapExample("l", (attention_map(tuple("ab")),), heads)


def test_maps_that_do_not_fit_their_tokens_are_refused():
    drawn = attention_map(tuple("abc"))
    with pytest.raises(DataError, match=r"expected \[heads, 3, 2\]"):
        dataclasses.replace(drawn, keys=("x", "y"))
    with pytest.raises(DataError, match=r"evidence has shape \(2, 2\); expected \(3, 3\)"):
        dataclasses.replace(drawn, evidence=np.eye(2, dtype=bool))


@pytest.mark.parametrize("rows, columns", [(0, 0), (0, 3), (1, 1)])
def test_maps_of_no_or_one_token_render(rows, columns):
    drawn = AttentionMap("m", np.ones((1, rows, columns)), tuple("a" * rows), tuple("b" * columns))
    read(render(Report("t", attention=(MapExample("l", (drawn,)),))))


def test_numbers_as_people_read_them():
    assert [number(v) for v in (0.0, 1.0, 12345.6, 1e-7, -2.5, 1234567)] == [
        "0",
        "1.000",
        "12\u202f346",
        "1e\N{MINUS SIGN}7",
        "\N{MINUS SIGN}2.500",
        "1\u202f234\u202f567",
    ]
    assert [percent(v) for v in (1.0, 0.99996, float("nan"))] == ["100.0\u202f%", ">99.9\u202f%", "NaN"]


def test_runs_side_by_side_have_a_table_and_their_pictures_in_pairs():
    one = MapExample(
        "first: a",
        (attention_map(tuple("ab")),),
        beside=MapExample("second: a", (attention_map(tuple("ab")),)),
    )
    found = HeadFinding("L0H1", "", None, 0.25, 0.1, 1.5, None, "looks and matters")
    heads = HeadReport(beside=Beside(("first", "second"), (("L0H1", (found, None)),)))
    page = render(Report("pair", heads=heads, attention=(one, MapExample("alone", (attention_map(("x",)),)))))
    reader = read(page)
    assert page.count('<div class="side-by-side">') == 1
    assert reader.texts["bdi"] == ["pair", "first: a", "second: a", "alone"]
    assert [name for name, _ in reader.attributes].count("open") == 2  # both of the first pair
    assert reader.texts["td"][:7] == [
        "",
        "1.500",
        "25.0\u202f%",
        "looks and matters",
        DASH,
        DASH,
        "no such head",
    ]
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    with pytest.raises(
        DataError, match=r"head L0H1: 1 findings; expected one for each of \('first', 'second'\)"
    ):
        Beside(("first", "second"), (("L0H1", (found,)),))
