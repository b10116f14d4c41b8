"""Hub dataset: texts to classify or to translate from a data set of Hugging Face `datasets`."""

import collections
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks.contract import Dataset, DatasetInfo, Example, Task
from attnkit.tasks.divide import held_out
from attnkit.tasks.labeled_text import Lines, labeled, unlabeled
from attnkit.tasks.parallel_text import ParallelTextDataset, untranslated
from attnkit.tasks.records import cell, column
from attnkit.tasks.units import Unknown, learn
from attnkit.tasks.wording import hint

SPLITS = ("train", "valid", "test")


@options
class HubDataset(Task):
    """Classify or translate the texts of a data set of Hugging Face `datasets` (needs attnkit[hub]).

    `name` is looked up where `datasets` looks: its cache, and the network if that is allowed. `path` is a
    folder written by `save_to_disk`, and needs no network. A column inside another is named with a dot:
    `translation.de`. A split that the data set lacks is taken from its training part by each text's hash.

    Attributes:
        name: name of the data set.
        config: its configuration, if it has several.
        path: a data set on disk, instead of `name`.
        text_column: column to read.
        label_column: column of classes or, with `form = "pairs"`, of texts to write.
        form: classes to tell, or texts to write.
        train: name of the training split in the data set.
        valid: name of the split that chooses the best checkpoint.
        test: name of the split that measures the result.
        valid_fraction: share of the training split that is held out if there is no `valid`.
        test_fraction: the same for `test`; 0 for no test split.
        limit: at most so many examples of each split; 0 for all.
        units: kind of tokens.
        unknown: what to do with words of a user's text that the vocabulary lacks: read them as `<unknown>`,
            or stop and say what is known.
        max_vocabulary: at most so many tokens, special ones included.
        max_length: longest text, in tokens.
        too_long: what to do with longer texts of a classification; longer pairs are skipped unless `"error"`.
        lowercase: whether to read capitals as small letters.
    """

    name: str | None = None
    config: str | None = None
    path: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    form: Literal["classes", "pairs"] = "classes"
    train: str = "train"
    valid: str = "validation"
    test: str = "test"
    valid_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    limit: Annotated[int, Ge(0)] = 0
    units: Literal["words", "characters", "subwords"] = "words"
    unknown: Unknown = "map"
    max_vocabulary: Annotated[int, Ge(5)] = 8000
    max_length: Annotated[int, Ge(1)] = 64
    too_long: Literal["cut", "skip", "error"] = "cut"
    lowercase: bool = False

    def load(self) -> Dataset:
        """The texts of all splits.

        Raises:
            ConfigError: if the package is missing, or it is not clear what to load.
            DataError: if the data set cannot be loaded, or lacks a column or split.
        """
        if (self.name is None) == (self.path is None):
            raise ConfigError("name and path: give one of them, a data set's name or its folder")
        found = self.opened()
        if self.train not in found:
            raise DataError(
                f"{self.where}: no split {self.train!r}{hint(self.train, found)}; it has {', '.join(found)}"
            )
        counts: collections.Counter[str] = collections.Counter()
        splits = {
            split: list(self.lines(found[own], own, counts))
            for split, own in zip(SPLITS, (self.train, self.valid, self.test), strict=True)
            if own in found
        }
        for split, fraction in (("valid", self.valid_fraction), ("test", self.test_fraction)):
            if split not in splits and fraction > 0:
                splits[split], splits["train"] = held_out(
                    splits["train"], split, fraction, lambda line: line[1]
                )
        splits = {split: splits[split] for split in SPLITS if split in splits}
        facts = {"data_set": self.where}
        return labeled(self, splits, counts, facts) if self.form == "classes" else self.pairs(splits, counts)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A text to classify or to translate. Raises `DataError` if it is empty or too long."""
        return (
            unlabeled(self, text, info) if self.form == "classes" else untranslated(text, info, self.unknown)
        )

    @property
    def where(self) -> str:
        """Name of the data set."""
        return self.name if self.name is not None else Path(self.path or "").name

    def opened(self) -> Mapping[str, Any]:
        """The data set's splits by name."""
        try:
            import datasets
        except ImportError:
            raise ConfigError("task hub_dataset: needs the package datasets; install attnkit[hub]") from None
        try:
            if self.path is not None:
                loaded: Any = datasets.load_from_disk(self.path)
            else:
                loaded = datasets.load_dataset(self.name, self.config)
        except Exception as error:
            # The package raises whatever its readers, its cache and the network raise.
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{self.where}: cannot be loaded: {type(error).__name__}: {reason}") from None
        return loaded if isinstance(loaded, Mapping) else {self.train: loaded}

    def lines(
        self, rows: Any, split: str, counts: collections.Counter[str]
    ) -> Iterator[tuple[str, str, str]]:
        """(label, text, place) of the rows of one split."""
        names = getattr(rows.features.get(self.label_column), "names", None)
        for number, row in enumerate(rows):
            if self.limit and number >= self.limit:
                return
            place = f"{self.where} {split}, row {number}"
            number_of = None if self.form == "pairs" else names or ()
            label = cell(column(row, self.label_column, place), self.label_column, place, number_of)
            text = cell(column(row, self.text_column, place), self.text_column, place)
            if not text or not label:
                counts["empty_rows_skipped"] += 1
                continue
            yield label, text.lower() if self.lowercase else text, place

    def pairs(self, splits: dict[str, Lines], counts: collections.Counter[str]) -> ParallelTextDataset:
        """The data set of pairs to translate."""
        turned = {
            split: [(text, label, place) for label, text, place in lines] for split, lines in splits.items()
        }
        source, target = (
            learn((pair[side] for pair in turned["train"]), self.units, self.max_vocabulary)
            for side in (0, 1)
        )
        kept: dict[str, Lines] = {}
        for split, lines in turned.items():
            kept[split] = []
            for pair in lines:
                longest = max(len(source.encode(pair[0])), len(target.encode(pair[1])))
                if longest <= self.max_length:
                    kept[split].append(pair)
                elif self.too_long == "error":
                    raise DataError(f"{pair[2]}: {longest} tokens; expected at most {self.max_length}")
                else:
                    counts["too_long_rows_skipped"] += 1
            if not kept[split]:
                raise DataError(f"{self.where}: no pairs for {split}; use a larger fraction or max_length")
        return ParallelTextDataset(self, kept, source, target, dict(counts), [{"data_set": self.where}])
