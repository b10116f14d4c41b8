from pathlib import Path

import pytest

from attnkit.experiment import cards, catalogue, costs
from attnkit.experiment.catalogue_page import masks, page, picture
from attnkit.experiment.formula import plus, rounded, worked_out

DOCS = Path(__file__).parents[2] / "docs"


def lines(base, kind):
    return {cost.what: cost for cost in costs.costs(catalogue.find(base, kind, ()))}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("2 * (a + 3) - a / 4", 13.0),
        ("-a", -4.0),
        ("b", None),
        ("2 **a", None),
        ("f(a)", None),
        ("a b", None),
    ],
)
def test_formulas(formula, value):
    assert worked_out(formula, {"a": 4}) == value


def test_sums_leave_zeros_out():
    assert plus("0", "2 * dim", "", "-4 * a") == "2 * dim - 4 * a"
    assert plus("0", "0") == "0"
    assert rounded(8388608.0) == "8,388,608"


def test_plain_attention_by_hand():
    # score 2 * 64, softmax 3, values 2 * 64; four matrices of 1024 x 1024; keys and values of 1024 numbers
    found = lines("TokenMixer", "attention")
    assert found["per pair and head"].value == 128 + 3 + 128
    assert found["per token"].value == 4 * 2 * 1024 * 1024
    assert found["cache per token"].value == 2 * 1024
    assert found["read from the cache per decoded token"].value == 2 * 2048 * 4096


def test_parts_of_a_preset_are_added_up():
    plain, alibi = lines("TokenMixer", "attention"), lines("TokenMixer", "alibi_attention")
    own = lines("Position", "alibi")["per pair and head"].value
    assert alibi["per pair and head"].value == plain["per pair and head"].value + own
    # forgetting keeps one more number for each of 16 heads, and projects it from 1024
    forgetting = lines("TokenMixer", "forgetting")
    assert forgetting["cache per token"].value == 2048 + 16
    assert forgetting["per token"].value == plain["per token"].value + 2 * 1024 * 16


def test_layers_by_hand():
    # latent 64 and rotary 16 numbers, whatever the heads; decoding scores 80 and sums 64 numbers a pair
    latent = lines("TokenMixer", "latent")
    assert latent["cache per token"].value == 80
    assert latent["per pair and head, decoding"].value == 2 * 80 + 2 * 64 + 3
    assert latent["per pair and head"].value == 2 * 80 + 2 * 64 + 3
    # queries 16 x 80, latent and rotary key 80, keys and values up from 64, output
    assert latent["per token"].value == 2 * (1024 * 1280 + 1024 * 80 + 2 * 64 * 1024 + 1024 * 1024)
    # two pairs of factors of 16 + 64 numbers
    assert lines("TokenMixer", "tensor_product")["cache per token"].value == 2 * 2 * 80
    assert lines("TokenMixer", "cross_layer")["cache per token"].value == 0
    # neither keys nor values are projected
    assert lines("TokenMixer", "cross_layer")["per token"].value == 2 * 2 * 1024 * 1024


def test_forms():
    def of(base, kind):
        return costs.forms(catalogue.find(base, kind, ()))

    assert "split" in of("TokenMixer", "attention")
    assert "split" not in of("TokenMixer", "sigmoid_attention")
    assert "split" not in of("TokenMixer", "contextual_position")
    assert "split" in of("TokenMixer", "forgetting")
    assert "step" in of("TokenMixer", "latent")


def test_every_variant_is_on_the_page_and_every_mask_is_drawn_as_its_documentation_has_it():
    text = page()
    for base in ("Score", "Position", "Normalizer", "TokenMixer", "Mask"):
        for entry in catalogue.catalogue(base):
            assert f"`{entry.kind}`" in text
    assert "pictures/masks/causal.svg" in text and masks()["causal.svg"].count("h1v1h-1z") == 10
    assert picture("x\n    # .\n    # #\n\ny") == ["# .", "# #"]


def test_the_committed_page_is_that_of_the_sources():
    place = DOCS / "catalogue.md"
    if not place.is_file():
        pytest.skip("no page is committed")
    assert place.read_text(encoding="utf-8") == page(), "run: python docs/make_catalogue.py"
    for name, drawn in masks().items():
        assert (DOCS / "pictures" / "masks" / name).read_text() == drawn, "run: python docs/make_catalogue.py"
    tasks = (DOCS / "tasks.md").read_text(encoding="utf-8")
    assert not [kind for kind in catalogue.kinds("Task") if f"| `{kind}` |" not in tasks]
    drawn = "".join(file.read_text() for file in (DOCS / "pictures" / "catalogue").glob("*.svg"))
    for base in ("Position", "Normalizer"):
        assert not [kind for kind in catalogue.kinds(base) if f">{kind}</text>" not in drawn]


def test_a_listing_shows_families_forms_and_costs():
    text = cards.listing({"TokenMixer": catalogue.catalogue("TokenMixer")})
    assert "TokenMixer: layers" in text and "TokenMixer: scored attention" in text
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["latent"])
    assert row[1:3] == ["291", "80"]
