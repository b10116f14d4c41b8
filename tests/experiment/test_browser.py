"""Pages in a real browser, where there is one: nothing is wider than the screen, runs, or is loaded."""

import json
import shutil

import numpy as np
import pytest

from attnkit.experiment import folder
from attnkit.experiment.cli import main
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

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
#: names of elements that reach beyond the screen, outside of boxes that scroll
WIDE = """() => [...document.body.querySelectorAll('*')].filter(one => {
    if (one.closest('.scroll, .hidden, .defs') && !one.matches('.scroll')) return false;
    return one.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(one => one.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def browser():
    own = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        yield made
        made.close()


@pytest.fixture(scope="module")
def pages(small_run, tmp_path_factory):
    """The report of a run, a crowded one, and a comparison."""
    place, run = tmp_path_factory.mktemp("pages"), small_run / "runs/small-1"
    assert main(["compare", str(run), "--out", str(place)]) == 0
    (place / "crowded.html").write_text(render(crowded()), encoding="utf-8")
    return [run / folder.REPORT, place / "crowded.html", place / "comparison.html"]


def crowded():
    """A report of long words, long numbers, and many splits, classes, tokens and heads."""
    word = "Donaudampfschifffahrtsgesellschaft" * 3
    splits = [f"length{2**n}" for n in range(12)]
    tokens = tuple(f"{word[:20]}{n}" for n in range(40))
    weights = np.random.default_rng(0).dirichlet(np.ones(40), size=(8, 40))
    drawn = AttentionMap("map", weights, tokens, tokens, evidence=np.eye(40, dtype=bool))
    steps = np.arange(500)
    return Report(
        title=word,
        about=word,
        verdict=word,
        command=word,
        facts={word: {word: word, "number": 123456789.123456}},
        results=tuple(
            Result(name, value, split, value, value, unit, True, word, (value / 2, value))
            for name, value, unit in ((word, 0.99999, "fraction"), ("loss", 1.23456e-12, "nats per token"))
            for split in splits
        ),
        confusion=(Confusion("test", tokens[:20], np.full((20, 20), 123456)),),
        curves=(Curve(word, tuple(Line(word, steps, steps * 1e9 + n) for n in range(8)), horizontal=word),),
        samples=(Sample(word, word[1:], word, False, "test"), Sample("", word, turns=(word, word))),
        attention=(MapExample(word, (drawn,) * 3, (1, 2), word),),
        config=word,
    )


def heard(tab, event):
    """The events of a kind that a tab has had, a list that grows."""
    events = []
    tab.on(event, lambda one: events.append(one))
    return events


def test_pages_fit_run_nothing_and_load_nothing(browser, pages):
    assert len({page.read_bytes() for page in pages}) == 3
    for width, scheme in ((1200, "light"), (390, "dark")):
        for page in pages:
            tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            asked, said = heard(tab, "request"), heard(tab, "console")
            tab.goto(page.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, page
            assert tab.evaluate(WIDE) == [], json.dumps([page.name, width])
            assert tab.locator("script, iframe, link").count() == 0
            assert {one.url for one in asked if not one.url.startswith("data:")} == {page.as_uri()}
            assert said == []
            tab.close()


def test_a_tapped_token_shows_its_row_and_a_chosen_head_its_map(browser, pages):
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto(pages[0].as_uri())
    label = tab.locator(".look[open] .taps label:visible").nth(1)
    label.click()
    shown = tab.locator(".look[open] .looked:visible")
    assert shown.count() == 1 and shown.first.inner_text().strip()
    before = tab.locator(".look[open] .panel:visible h3").inner_text()
    tab.locator(".look[open] .map-row:not(.opened) label").first.click()
    assert tab.locator(".look[open] .panel:visible h3").inner_text() != before
    tab.close()
