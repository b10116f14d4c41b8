"""Dialogues as they are written down: lists of turns, `messages` with roles, ShareGPT's `conversations`."""

import collections
import json
from collections.abc import Mapping
from typing import Any

from attnkit.errors import DataError
from attnkit.tasks.units import spaced
from attnkit.tasks.wording import shown

Turn = tuple[str, str]
USER, BOT, SYSTEM = "user", "bot", "system"
SPEAKERS = (USER, BOT)
#: Keys of an object that hold its turns.
LISTS = ("turns", "messages", "conversations", "conversation")
#: Keys of a turn's speaker and text in each format.
FIELDS = (("speaker", "text"), ("role", "content"), ("from", "value"))
#: Roles of the formats with roles, as the speakers that a chat has.
ROLES = {
    "human": USER,
    "assistant": BOT,
    "gpt": BOT,
    "chatgpt": BOT,
    "model": BOT,
    "developer": SYSTEM,
}


def is_turn(value: Any) -> bool:
    """Whether a value is an object with a speaker and what was said."""
    return isinstance(value, dict) and any(who in value and what in value for who, what in FIELDS)


def turns_of(value: Any, place: str, counts: collections.Counter[str]) -> list[Turn]:
    """The turns of one dialogue: speaker and text of each.

    Turns without text, such as calls of tools, and parts that are no text are left out and counted.

    Args:
        value: a list of turns, or an object with such a list.
        place: where it is, for messages.
        counts: what is left out is added to it.

    Raises:
        DataError: for what is no dialogue.
    """
    turns = value
    if isinstance(value, dict):
        turns = next((value[key] for key in LISTS if key in value), None)
    if not isinstance(turns, list) or len(turns) < 2:
        raise DataError(
            f"{place}: no dialogue; expected a list of at least 2 turns, or it in one of {', '.join(LISTS)}"
        )
    found = []
    for number, turn in enumerate(turns):
        speaker, text = said(turn, number, counts)
        # JSON can spell half of a surrogate pair, which no report could be written with.
        if not (isinstance(speaker, str) and isinstance(text, str)) or any(
            "\ud800" <= letter <= "\udfff" for letter in speaker + text
        ):
            raise DataError(
                f"{place}: turn {number + 1} is {shown(json.dumps(turn))}; expected a text, or an object "
                "with texts in 'speaker' and 'text', 'role' and 'content' or 'from' and 'value'"
            )
        if spaced(text):
            found.append((spaced(speaker), spaced(text)))
        elif isinstance(turn, Mapping) and "role" in turn:
            counts["turns_without_text_skipped"] += 1
        else:
            raise DataError(f"{place}: turn {number + 1} is empty; expected a text")
    return found


def said(turn: Any, number: int, counts: collections.Counter[str]) -> tuple[Any, Any]:
    """Speaker and text of a turn; anything else for what is none."""
    if not isinstance(turn, dict):
        return SPEAKERS[number % 2], turn
    fields = next(((who, what) for who, what in FIELDS if who in turn), FIELDS[0])
    speaker, text = (turn.get(name) for name in fields)
    if fields[0] != FIELDS[0][0] and isinstance(speaker, str):
        speaker = ROLES.get(speaker.lower(), speaker.lower())
    if fields[0] == "role" and text is None:
        text = ""
    if isinstance(text, list) and all(isinstance(part, dict) for part in text):
        counts["parts_without_text_skipped"] += sum(not isinstance(part.get("text"), str) for part in text)
        text = " ".join(part["text"] for part in text if isinstance(part.get("text"), str))
    return speaker, text


def answering(turns: list[Turn]) -> str:
    """The speaker whose turns answer: `bot`, or else the second one besides `system`."""
    speakers = [who for who, _ in turns if who != SYSTEM]
    if BOT in speakers:
        return BOT
    return next((who for who in speakers if who != speakers[0]), "")
