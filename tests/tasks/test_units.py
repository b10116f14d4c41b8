"""Words of many scripts, and that tokens written one after the other give the text back."""

import pytest

from attnkit.errors import DataError
from attnkit.tasks.spelling import words_of
from attnkit.tasks.units import learn, spelled

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
    for units in ("words", "subwords"):
        found = words_of(text, units)
        assert len(found) == words and "".join(found) == text


@pytest.mark.parametrize(
    ("text", "words", "runs"),
    [
        ("我喜欢猫。你呢", ["我", "喜", "欢", "猫", "。", "你", "呢"], 3),
        ("น้ำดี ครับ", ["น้ำ", "ดี", " ค", "รั", "บ"], 2),  # a consonant with its vowel and tone
        ("カタカナ です", ["カタカナ", " で", "す"], 2),
        ("한국어 단어", ["한국어", " 단어"], 2),
        ("ab猫2", ["ab", "猫", "2"], 1),
    ],
)
def test_scripts_without_spaces(text, words, runs):
    assert words_of(text, "words") == words and len(words_of(text, "subwords")) == runs


@pytest.mark.parametrize(
    "one",
    [
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # a family
        "\U0001f44d\U0001f3fd",  # a hand with the color of its skin
        "\U0001f1e9\U0001f1ea",  # a flag
        "\u2764\ufe0f",  # a heart and that it is a picture
        "1\ufe0f\u20e3",  # a key
    ],
)
def test_an_emoji_of_several_characters_is_one_token(one):
    for units in ("words", "subwords"):
        assert words_of(f"{one} a {one}{one if one[0] != '1' else ''}", units)[:3] == [one, " a", f" {one}"]


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


def test_unknown_words_are_mapped_or_refused_with_what_is_known():
    speller = learn(["red green green", "red blue"], "words", 20)
    assert spelled(speller, "red pink", "map")[1] == speller.unknown
    assert speller.unknown_words("red pink, pink red") == ["pink", ","]
    with pytest.raises(DataError) as caught:
        spelled(speller, "red gren", "refuse")
    assert str(caught.value) == (
        "'red gren': 'gren' does not occur in the training data; did you mean 'green'?; "
        "known are: green red blue"
    )
    assert spelled(speller, "red green", "refuse") == speller.encode("red green")
    letters = learn(["abc"], "characters", 20)
    with pytest.raises(DataError, match="'xyz' does not occur in the training data; known are: a b c"):
        spelled(letters, "a xyz", "refuse")
