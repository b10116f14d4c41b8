"""Grammar and semantics of the dialogues about a table: phrases, dialogue state, replies."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VALUES: Mapping[str, tuple[str, ...]] = {
    "food": ("italian", "thai", "indian", "greek", "french", "turkish", "mexican", "korean"),
    "area": ("north", "south", "east", "west", "center"),
    "size": NUMBERS,
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "time": NUMBERS,
}
SLOTS = tuple(VALUES)
PHRASES = {"food": "{} food", "area": "in the {}", "size": "for {} people", "day": "on {}", "time": "at {}"}
STEPS = {"size": "one more person", "day": "one day later", "time": "one hour later"}
STEP_WORDS = {"person": "size", "day": "day", "hour": "time"}
WORDS = tuple(
    dict.fromkeys(
        [
            "user",
            "bot",
            ":",
            "ok",
            ",",
            "i",
            "want",
            "and",
            "sorry",
            "instead",
            "which",
            "did",
            "say",
            "?",
            "book",
            "it",
            "let",
            "me",
            "think",
            "booked",
        ]
        + [word for phrase in (*PHRASES.values(), *STEPS.values()) for word in phrase.split() if word != "{}"]
        + [*SLOTS, *(value for values in VALUES.values() for value in values)]
    )
)

Place = tuple[int, int]


class Held(NamedTuple):
    """A value that holds, and the places (turn, word) it follows from."""

    value: str
    places: tuple[Place, ...]


def phrase(slot: str, value: str) -> str:
    """How a value of a slot is said."""
    return PHRASES[slot].format(value)


def follow(turns: Sequence[Sequence[str]]) -> dict[str, Held]:
    """Dialogue state after some turns of the user: the last value of every slot, changed by steps after it.

    >>> follow(["on friday at nine".split(), "one day later".split()])["day"]
    Held(value='saturday', places=((0, 1), (1, 1)))
    """
    state: dict[str, Held] = {}
    for number, turn in enumerate(turns):
        for place, word in enumerate(turn):
            before, after = turn[place - 1] if place else "", (*turn, "", "")[place + 1]
            if slot := slot_of(word, before, after):
                state[slot] = Held(word, ((number, place),))
            elif (step := step_of(word, before, after)) and step in state:
                value, places = state[step]
                values = VALUES[step]
                following = values[(values.index(value) + 1) % len(values)]
                state[step] = Held(following, (*places, (number, place)))
    return state


def slot_of(word: str, before: str, after: str) -> str:
    """The slot that a word is a value of, between its neighbors; empty if it is none."""
    for slot in ("food", "area", "day"):
        if word in VALUES[slot] and (slot != "food" or after == "food"):
            return slot
    if word in NUMBERS and before == "for" and after == "people":
        return "size"
    return "time" if word in NUMBERS and before == "at" else ""


def step_of(word: str, before: str, after: str) -> str:
    """The slot that a word moves to its next value; empty if it moves none."""
    if before == "more" and word == "person":
        return "size"
    return STEP_WORDS.get(word, "") if before == "one" and after == "later" else ""


def reply(turns: Sequence[Sequence[str]]) -> tuple[list[str], dict[int, tuple[Place, ...]]]:
    """The bot's reply to the user's last turn, and the evidence: places that its words follow from.

    >>> " ".join(reply(["thai food and on sunday".split(), "book it".split()])[0])
    'booked thai food on sunday'
    """
    last, state = list(turns[-1]), follow(turns)
    said: list[str] = []
    known: dict[int, tuple[Place, ...]] = {}

    def say(slot: str) -> None:
        for word in phrase(slot, state[slot].value).split():
            if word == state[slot].value:
                known[len(said)] = state[slot].places
            said.append(word)

    if last == ["book", "it"]:
        said.append("booked")
        for slot in SLOTS:
            if slot in state:
                say(slot)
    elif last[:1] == ["which"] and len(last) > 1 and last[1] in state:
        say(last[1])
    else:
        said.append("ok")
    return said, known
