"""Words of many scripts, and that tokens written one after the other give the text back."""

import pytest

from attnkit.tasks.spelling import WORD
from attnkit.tasks.units import learn

HINDI = "नमस्ते दुनिया हिन्दी में सात शब्द हैं"  # seven words, thirteen marks that combine


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HINDI, 7),
        ("don't stop", 4),
        ("e\u0301te\u0301 a\u0300", 2),  # accents as characters of their own
        ("می\u200cروم", 1),  # Persian, with a joiner inside the word
        ("مرحبا بالعالم", 2),
        ("a, b", 3),
        ("x\ty", 3),
    ],
)
def test_marks_and_joiners_belong_to_their_word(text, words):
    found = WORD.findall(text)
    assert len(found) == words and "".join(found) == text


@pytest.mark.parametrize("units", ["words", "characters", "subwords"])
def test_a_text_comes_back(units):
    if units == "subwords":
        pytest.importorskip("tokenizers")
    speller = learn([HINDI] * 3, units, 200)
    assert speller.vocabulary.text(speller.encode(HINDI)) == HINDI
    if units == "subwords":
        assert any(
            len(token) > 1 and token[-1] in "\u093e\u093f\u0940" for token in speller.vocabulary.tokens
        )
