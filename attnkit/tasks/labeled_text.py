"""Labeled text: learn to classify from the user's own lines of label and text."""

import collections
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks.classes import by_class, class_vocabulary
from attnkit.tasks.contract import DatasetInfo, Example, Vocabulary
from attnkit.tasks.divide import held_out
from attnkit.tasks.pair_dataset import PairDataset, TokenPairs
from attnkit.tasks.spelling import Kind, Speller
from attnkit.tasks.tables import Column, Role, TableTask, read, words
from attnkit.tasks.token_rows import RaggedTokens
from attnkit.tasks.units import Unknown, learn, spaced, spelled
from attnkit.tasks.wording import shown

Lines = list[tuple[str, str, str]]
#: Usual names of columns, in small letters.
LABELS = words(
    "label labels class category sentiment polarity target y stars rating score topic intent "
    "emotion tag spam genre verdict"
)
TEXTS = words(
    "text texts sentence review review_text content message body comment tweet utterance sms "
    "document description headline post"
)
FEWEST_SWAPPED = 12


@options
class LabeledText(TableTask):
    """Classify texts as the user's own lines do.

    Files hold a line `label TAB text` for each text, or are tables in another form (CSV, JSON, Parquet); they
    may be in gzip format. The splits `valid` and `test` are files of their own, or part of the training file:
    then the hash of the text alone decides where a line goes, so that equal texts stay together and adding
    lines moves no other.

    Attributes:
        path: training lines.
        label_column: name of the column of classes, or its number from 1; by default the one with a usual
            name, or the first.
        text_column: the same for the texts; by default the second.
        valid_path: lines of the split that chooses the best checkpoint.
        test_path: lines of the split that measures the result.
        valid_fraction: share of the training file that is held out if there is no file for `valid`.
        test_fraction: the same for `test`; 0 for no test split.
        units: kind of tokens of the text; subwords need the `tokenizers` package.
        unknown: what to do with words of a user's text that the vocabulary lacks: read them as `<unknown>`,
            or stop and say what is known.
        max_vocabulary: at most so many tokens, special ones included, the most frequent of the training part;
            all others become `<unknown>`.
        max_length: longest text, in tokens.
        too_long: what to do with longer texts: keep their beginning, skip them, or stop. They are counted.
        lowercase: whether to read capitals as small letters.
        blank_lines: what to do with lines without text.
    """

    label_column: Column | None = None
    text_column: Column | None = None
    valid_path: str | None = None
    test_path: str | None = None
    valid_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    units: Literal["words", "characters", "subwords"] = "words"
    unknown: Unknown = "map"
    max_vocabulary: Annotated[int, Ge(5)] = 8000
    max_length: Annotated[int, Ge(1)] = 64
    too_long: Literal["cut", "skip", "error"] = "cut"
    lowercase: bool = False
    blank_lines: Literal["skip", "error"] = "skip"

    def roles(self) -> tuple[Role, Role]:
        """Class and text."""
        text = Role("text", self.text_column, TEXTS, asked=True)
        return Role("label", self.label_column, LABELS, classes=True), text

    def load(self) -> "LabeledTextDataset":
        """The texts of all splits.

        Raises:
            ConfigError: if no file is named.
            DataError: with file and line for bad files, labels that training lacks, and empty splits.
        """
        if self.path is None:
            raise ConfigError("path: no training lines; name a file of 'label TAB text' lines")
        counts: collections.Counter[str] = collections.Counter()
        files: list[dict[str, Any]] = []
        splits = {"train": self.read(self.path, counts, files)}
        for split, own, fraction in (
            ("valid", self.valid_path, self.valid_fraction),
            ("test", self.test_path, self.test_fraction),
        ):
            if own is not None:
                splits[split] = self.read(own, counts, files)
            elif fraction > 0:
                splits[split], splits["train"] = held_out(
                    splits["train"], split, fraction, lambda line: line[1]
                )
        return labeled(self, splits, counts, {"files": files})

    def read(self, path: str, counts: collections.Counter[str], files: list[dict[str, Any]]) -> Lines:
        """(label, text, place) of every line of a file."""
        table = read(self, path, self.roles())
        files.append(table.facts)
        found = []
        for (label, text), place in table.rows:
            label, text = spaced(label), spaced(text.lower() if self.lowercase else text)
            if not label or not text:
                if self.blank_lines == "error":
                    what = "label" if not label else "text"
                    raise DataError(f"{place}: the {what} is empty; fill it in, or set blank_lines = 'skip'")
                counts["blank_lines_skipped"] += 1
                continue
            found.append((label, text, place))
        return found

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A text to classify; what is longer than `max_length` tokens is cut, as in training.

        Raises:
            DataError: for an empty text.
        """
        return unlabeled(self, text, info)


def unlabeled(task: Any, text: str, info: DatasetInfo) -> Example:
    """A text to classify, read as `task` says, a `LabeledText` or its like; `DataError` if it is empty."""
    text = spaced(text.lower() if task.lowercase else text)
    most = min(task.max_length, info.source_length)
    ids = tuple(spelled(info.speller, text, task.unknown)[:most]) if info.speller else ()
    if not ids:
        raise DataError("an empty text; expected something to classify")
    return Example(prompt=text, answer="", source=ids, inputs=(Vocabulary.BEGIN,), labels=())


def labeled(
    task: Any, splits: dict[str, Lines], counts: collections.Counter[str], facts: Mapping[str, Any]
) -> "LabeledTextDataset":
    """The data set of labeled texts by split, spelled and cut as `task` says, a `LabeledText` or its like."""
    name = task.path or "the data"
    refuse_swapped(name, [line for lines in splits.values() for line in lines])
    for split, lines in splits.items():
        if not lines:
            raise DataError(
                f"{name}: no texts for {split}; use more lines, a larger fraction, or a file of its own"
            )
    classes = sorted({label for label, _, _ in splits["train"]})
    if len(classes) < 2:
        raise DataError(f"{name}: every label is {shown(classes[0])}; expected at least 2 different ones")
    for lines in splits.values():
        for label, _, place in lines:
            if label not in classes:
                raise DataError(f"{place}: label {shown(label)} does not occur in the training part")
    units: Kind = task.units
    speller = learn((text for _, text, _ in splits["train"]), units, task.max_vocabulary)
    kept = {
        split: [(label, text, ids) for label, text, ids in fitted(task, lines, speller, counts)]
        for split, lines in splits.items()
    }
    return LabeledTextDataset(kept, classes, speller, task, {**facts, **counts})


def refuse_swapped(name: str, lines: Lines) -> None:
    """Raise `DataError` if what should be classes are texts: most differ, and the texts are few."""
    classes, texts = len({label for label, _, _ in lines}), len({text for _, text, _ in lines})
    if classes >= FEWEST_SWAPPED and 2 * classes > len(lines) and 3 * texts < classes:
        raise DataError(
            f"{name}: {classes} different classes and {texts} different texts: the columns are swapped; say "
            "which is which, label_column = 2 and text_column = 1, or by their names"
        )


def fitted(
    task: Any, lines: Lines, speller: Speller, counts: collections.Counter[str]
) -> list[tuple[str, str, list[int]]]:
    """(label, text, token ids) of the lines, those that are too long treated as `task` says."""
    found = []
    for label, text, place in lines:
        ids = speller.encode(text)
        if len(ids) > task.max_length:
            if task.too_long == "error":
                raise DataError(
                    f"{place}: {len(ids)} tokens; expected at most max_length = {task.max_length}; shorten "
                    "the text, raise max_length, or set too_long = 'cut'"
                )
            counts["too_long_texts_cut" if task.too_long == "cut" else "too_long_texts_skipped"] += 1
            if task.too_long == "skip":
                continue
            ids = ids[: task.max_length]
        found.append((label, text, ids))
    return found


class LabeledTextDataset(PairDataset):
    """Texts and their classes; a class is a token."""

    def __init__(
        self,
        splits: dict[str, list[tuple[str, str, list[int]]]],
        classes: Sequence[str],
        speller: Speller,
        task: Any,
        facts: Mapping[str, Any],
    ):
        self.speller = speller
        vocabulary = class_vocabulary(classes)
        number = {label: len(Vocabulary.SPECIAL) + place for place, label in enumerate(classes)}
        pairs = {
            split: TokenPairs(
                prompts=[text for _, text, _ in lines],
                answers=[label for label, _, _ in lines],
                sources=RaggedTokens.of([ids for _, _, ids in lines]),
                targets=RaggedTokens.of([(number[label],) for label, _, _ in lines]),
            )
            for split, lines in splits.items()
        }
        known = set(pairs["train"].prompts)
        shares = collections.Counter(pairs["train"].answers)
        held = {split: some for split, some in pairs.items() if split != "train"}
        super().__init__(
            task=task,
            train=pairs["train"],
            held_out=held,
            vocabulary=vocabulary,
            source_vocabulary=speller.vocabulary,
            facts={
                **facts,
                "classes": {label: shares[label] for label in classes},
                "unknown_tokens": {
                    split: round(float((some.sources.flat == speller.unknown).mean()), 4)
                    for split, some in pairs.items()
                },
                "texts_also_in_train": {
                    split: sum(text in known for text in some.prompts) for split, some in held.items()
                },
            },
        )
        majority = shares.most_common(1)[0][0]
        first = held[self.splits[0]].answers
        right = sum(label == majority for label in first) / len(first)
        self.floors = {"loss": self.floors["loss"], "token_accuracy": right, "exact_match": right}

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match` (accuracy), and the mean over classes of the F1 measure."""
        return by_class([example.answer for example in examples], predictions)
