"""Dates: read a date as people write it, and write it in the form of ISO 8601."""

import datetime
from typing import Annotated

import numpy as np
from annotated_types import Ge

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks import draws
from attnkit.tasks.contract import DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.pair_dataset import PairDataset, TokenPairs
from attnkit.tasks.token_rows import RaggedTokens, vocabulary_of
from attnkit.tasks.wording import shown
from attnkit.tasks.written_dates import FORMS, ISO, spans, written

FIRST_DAY, LAST_DAY = datetime.date(1900, 1, 1), datetime.date(2050, 12, 31)
DAYS = (LAST_DAY - FIRST_DAY).days + 1


@options
class Dates(Task):
    """Read a date in one of ten written forms, a character at a time, and write it as `1987-05-03`.

    Every pair is a random day from 1900 to 2050 in a random form. The days of the splits are disjoint: no
    held-out day is in the training part in any form.

    >>> data = Dates(train_size=100).load()
    >>> data.held_out["test"].prompts[0], data.held_out["test"].answers[0]
    ('wednesday the 9th of january, 1946', '1946-01-09')

    Attributes:
        train_size: pairs to train on; a day may come several times, in different forms or not.
        valid_size: pairs that choose the best checkpoint.
        test_size: pairs that measure the result.
        split_seed: which days are held out, and in which forms days are written.

    Source: a common exercise of attention (date normalization), here by our own rules; the forms are in
    `written_dates.py`.
    """

    train_size: Annotated[int, Ge(1)] = 20000
    valid_size: Annotated[int, Ge(1)] = 500
    test_size: Annotated[int, Ge(1)] = 500
    split_seed: Annotated[int, Ge(0)] = 0

    def load(self) -> "DatesDataset":
        """The pairs of all splits. Raises `ConfigError` for more held-out pairs than there are days."""
        held_out = self.valid_size + self.test_size
        if held_out >= DAYS:
            raise ConfigError(f"valid_size + test_size = {held_out}: expected less than {DAYS}, all days")
        order = draws.permutation(DAYS, self.split_seed, 1)
        valid, test, rest = np.split(order, [self.valid_size, held_out])
        train = rest[draws.below(len(rest), self.train_size, self.split_seed, 2)]
        days = {"train": train, "valid": valid, "test": test}
        return DatesDataset(self, days)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A written date.

        Raises:
            DataError: for characters that no date has, and for a text that is too long.
        """
        ids = (info.source_vocabulary or info.vocabulary).ids
        name = " ".join(text.lower().split())
        for letter in name:
            if letter not in ids:
                like = written(LAST_DAY, 5)
                raise DataError(f"{shown(text)}: {letter!r} is in no date; write it like {like!r}")
        if not 0 < len(name) <= info.source_length:
            raise DataError(f"{shown(text)}: {len(name)} characters; expected 1 to {info.source_length}")
        read = tuple(ids[letter] for letter in name)
        return Example(prompt=name, answer="", source=read, inputs=(Vocabulary.BEGIN,), labels=())


class DatesDataset(PairDataset):
    """Written dates and ISO dates, with the characters that decide each digit."""

    def __init__(self, task: Dates, days: dict[str, np.ndarray]) -> None:
        self.forms: dict[str, tuple[datetime.date, int]] = {}
        texts = {}
        for number, (split, chosen) in enumerate(days.items()):
            forms = draws.below(len(FORMS), len(chosen), task.split_seed, 3 + number)
            dates = [FIRST_DAY + datetime.timedelta(days=int(day)) for day in chosen]
            texts[split] = [written(date, form) for date, form in zip(dates, forms, strict=True)]
            self.forms |= zip(texts[split], zip(dates, forms.tolist(), strict=True), strict=True)
        letters = sorted({letter for split in texts.values() for text in split for letter in text})
        source, target = vocabulary_of(letters), vocabulary_of("0123456789-")
        pairs = {}
        for split, prompts in texts.items():
            answers = [self.forms[prompt][0].isoformat() for prompt in prompts]
            pairs[split] = TokenPairs(
                prompts=prompts,
                answers=answers,
                sources=RaggedTokens.of([[source.ids[letter] for letter in prompt] for prompt in prompts]),
                targets=RaggedTokens.of(
                    [[*(target.ids[letter] for letter in answer), Vocabulary.END] for answer in answers]
                ),
            )
        train = pairs.pop("train")
        super().__init__(
            task=task,
            train=train,
            held_out=pairs,
            vocabulary=target,
            source_vocabulary=source,
            facts={"held_out": "days that are not in the training part", "forms": len(FORMS)},
        )
        self.ceilings = {"loss": 0.0, "token_accuracy": 1.0, "exact_match": 1.0}

    def evidence(self, prompt: str, answer: str) -> np.ndarray | None:
        """`[len(labels), len(source)]` bool: the characters that decide each digit of the ISO date.

        The first two digits of the year are 19 or 20, so each of them decides both; the last two are decided
        by themselves, digits of the month by the whole month, name or number. Of the day, two digits are
        decided by one each, and a single one decides both. Dashes and `END` need nothing.
        """
        where = spans(*self.forms[prompt])
        found = np.zeros((len(answer) + 1, len(prompt)), bool)
        rows = dict(zip(ISO, ((0, 4), (5, 7), (8, 10)), strict=True))
        for part, (first, last) in rows.items():
            start, stop = where[part]
            if part == "month" or stop - start == 1:
                found[first:last, start:stop] = True
            else:
                found[first:last, start:stop] = np.eye(last - first, dtype=bool)
            if part == "year":
                found[first : first + 2, start : start + 2] = True
        return found
