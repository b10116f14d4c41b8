"""The ways a date is written, and where in the text its day, month and year stand."""

import datetime
from collections.abc import Iterator

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Each {field} is filled in by `fields`. Numbers with dots or dashes are day before month, those with strokes
# month before day, so that every text means one date.
FORMS = (
    "{day}.{number}.{year}",
    "{day2}-{number2}-{year}",
    "{number}/{day}/{year}",
    "{number2}/{day2}/{year}",
    "{day} {month} {year}",
    "{month} {day}, {year}",
    "{short} {day2}, {year}",
    "{day}{th} of {month} {year}",
    "{weekday}, {day} {short} {year}",
    "{weekday} the {day}{th} of {month}, {year}",
)
ISO = ("year", "month", "day")

Span = tuple[int, int]


def ordinal(day: int) -> str:
    """The letters behind an ordinal number.

    >>> [f"{day}{ordinal(day)}" for day in (1, 2, 3, 4, 11, 12, 13, 21, 30)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '30th']
    """
    return "th" if day // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def fields(date: datetime.date) -> dict[str, str]:
    """How each part of a date is spelled."""
    month = MONTHS[date.month - 1].lower()
    return {
        "day": str(date.day),
        "day2": f"{date.day:02}",
        "th": ordinal(date.day),
        "number": str(date.month),
        "number2": f"{date.month:02}",
        "month": month,
        "short": month[:3],
        "year": str(date.year),
        "weekday": WEEKDAYS[date.weekday()].lower(),
    }


def pieces(date: datetime.date, form: int) -> Iterator[tuple[str, str]]:
    """The text of a date in pieces, each with what it says: `year`, `month`, `day`, or nothing.

    >>> list(pieces(datetime.date(1987, 5, 3), 4))
    [('3', 'day'), (' ', ''), ('may', 'month'), (' ', ''), ('1987', 'year')]
    """
    spelled = fields(date)
    for part in FORMS[form].replace("}", "{").split("{"):
        if part in spelled:
            meaning = "month" if part in ("number", "number2", "short") else part.rstrip("2")
            yield spelled[part], meaning if meaning in ISO else ""
        elif part:
            yield part, ""


def written(date: datetime.date, form: int) -> str:
    """A date in one of the ten forms, in lower case.

    >>> [written(datetime.date(1987, 5, 3), form) for form in (0, 3, 9)]
    ['3.5.1987', '05/03/1987', 'sunday the 3rd of may, 1987']
    """
    return "".join(text for text, _ in pieces(date, form))


def spans(date: datetime.date, form: int) -> dict[str, Span]:
    """Where the characters of year, month and day begin and end."""
    found, start = {}, 0
    for text, meaning in pieces(date, form):
        if meaning:
            found[meaning] = (start, start + len(text))
        start += len(text)
    return found
