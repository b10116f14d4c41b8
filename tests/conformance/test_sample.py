"""Every variant of the catalogue keeps a sample of its family's contract; a check in full is run by hand."""

import pytest

from attnkit.approximate.contract import Approximate
from attnkit.conformance import check
from attnkit.experiment.catalogue import catalogue
from attnkit.layers.contract import CustomTokenMixer
from attnkit.masks.contract import Mask
from attnkit.recurrence.contract import Recurrent
from attnkit.scored.contract import Part, Preset

pytestmark = pytest.mark.one_python

BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer")
#: Checks of each kind of variant; a variant gets the first of them, and one of the others in turn. Those of
#: recurrences and layers compile for long: they get one of all in turn.
SAMPLES = {
    Preset: ("hooks",),
    Part: (
        "hooks",
        "agreement",
        "causality",
        "large scores",
        "masked content",
        "masked nan",
        "visible nan",
        "empty rows",
    ),
    Recurrent: ("hooks", "agreement", "causality", "padding", "resets"),
    Approximate: ("hooks", "output", "differences", "padding", "causality", "extremes"),
    CustomTokenMixer: ("decoding", "gradients", "padding", "looking"),
    Mask: ("data", "offset", "blocks", "algebra"),
}
ENTRIES = [entry for base in BASES for entry in catalogue(base)]


@pytest.mark.parametrize("number", range(len(ENTRIES)), ids=[f"{e.base}-{e.kind}" for e in ENTRIES])
def test_a_variant_keeps_a_sample_of_the_contract(number):
    cls = ENTRIES[number].cls
    first, *others = next(checks for kind, checks in SAMPLES.items() if issubclass(cls, kind))
    if issubclass(cls, (Recurrent, CustomTokenMixer)):
        first, others = (first, *others)[number % (1 + len(others))], []
    chosen = {first, *others[number % max(1, len(others)) :][:1]}
    matrix = check(cls, level="brief", only=frozenset(chosen))
    assert matrix.ok and matrix.rows, f"\n{matrix}"
