"""Parallel text: learn to translate from the user's own pairs of lines."""

import collections
import importlib.util
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks.contract import DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.divide import held_out
from attnkit.tasks.pair_dataset import PairDataset, TokenPairs
from attnkit.tasks.plain_files import read_text
from attnkit.tasks.spelling import Speller
from attnkit.tasks.tables import LANGUAGES, Column, Role, TableTask, read, words
from attnkit.tasks.token_rows import RaggedTokens
from attnkit.tasks.units import Unknown, learn, size, spaced, spelled
from attnkit.tasks.wording import shown

Lines = list[tuple[str, str, str]]


#: Usual names of columns, in small letters.
SOURCES = LANGUAGES | words("source src input inputs question prompt instruction query article")
TARGETS = LANGUAGES | words("target tgt output outputs answer translation completion response summary")


@options
class ParallelText(TableTask):
    """Translate as the user's own pairs of lines do.

    The pairs are the lines `source TAB target` of one file (`path`), which may be a table in another form
    (CSV, JSON, Parquet), or the lines with equal numbers of two files (`source_path` and `target_path`); all
    may be in gzip format. The splits `valid`
    and `test` are files of their own, or part of the training file: then the hash of the source line alone
    decides where a pair goes, so that equal source lines stay together and adding lines moves no other.

    Outer spaces are removed and runs of spaces become one. A word token carries the space before it, and
    every punctuation mark is a token, so tokens written one after the other give the text back. Subwords are
    learned from the training part (needs the `tokenizers` package).

    Attributes:
        path: training pairs, one `source TAB target` a line.
        source_column: name of the column to read, or its number from 1; by default the one with a usual name,
            such as a language's, or the first.
        target_column: the same for the column to write; by default the second.
        source_path: training lines to read, instead of `path`.
        target_path: training lines to write, instead of `path`.
        valid_path: as `path`, for the split that chooses the best checkpoint.
        valid_source_path: as `source_path`, for that split.
        valid_target_path: as `target_path`, for that split.
        test_path: as `path`, for the split that measures the result.
        test_source_path: as `source_path`, for that split.
        test_target_path: as `target_path`, for that split.
        valid_fraction: share of the training file that is held out if there are no files for `valid`.
        test_fraction: the same for `test`; 0 for no test split.
        units: kind of tokens, for both languages.
        unknown: what to do with words of a user's text that the vocabulary lacks: read them as `<unknown>`,
            or stop and say what is known.
        max_vocabulary: at most so many tokens a language, special ones included, the most frequent of the
            training part; all others become `<unknown>`.
        max_length: longest pair, in tokens a side without the end token.
        train_max_length: the same for training pairs alone, `None` for `max_length`: batches are as wide as
            their longest pair, so a few long ones make all others slow.
        too_long: what to do with pairs longer than `max_length`. Skipped lines are counted.
        blank_lines: what to do with pairs of which a side is empty.
        extra_columns: what to do with what comes after a second tab in a line.
    """

    source_column: Column | None = None
    target_column: Column | None = None
    source_path: str | None = None
    target_path: str | None = None
    valid_path: str | None = None
    valid_source_path: str | None = None
    valid_target_path: str | None = None
    test_path: str | None = None
    test_source_path: str | None = None
    test_target_path: str | None = None
    valid_fraction: Annotated[float, Gt(0), Lt(1)] = 0.05
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.05
    units: Literal["words", "characters", "subwords"] = "words"
    unknown: Unknown = "map"
    max_vocabulary: Annotated[int, Ge(5)] = 8000
    max_length: Annotated[int, Ge(1)] = 64
    train_max_length: Annotated[int, Ge(1)] | None = None
    too_long: Literal["skip", "error"] = "skip"
    blank_lines: Literal["skip", "error"] = "skip"
    extra_columns: Literal["error", "ignore"] = "error"

    def roles(self) -> tuple[Role, Role]:
        """Text to translate, and its translation."""
        source = Role("source", self.source_column, SOURCES, asked=True)
        return source, Role("target", self.target_column, TARGETS)

    def load(self) -> "ParallelTextDataset":
        """The pairs of all splits.

        Raises:
            ConfigError: if it is not clear which files to read.
            DataError: with file and line for bad files, and if a split is left without pairs.
        """
        counts: collections.Counter[str] = collections.Counter()
        files: list[dict[str, Any]] = []
        train = self.read("", counts, files)
        if train is None:
            raise ConfigError(
                "path: no training pairs; name a file in path, or two in source_path and target_path"
            )
        splits = {"train": train}
        for split, fraction in (("valid", self.valid_fraction), ("test", self.test_fraction)):
            pairs = self.read(f"{split}_", counts, files)
            if pairs is None and fraction > 0:
                pairs, splits["train"] = held_out(splits["train"], split, fraction, lambda pair: pair[0])
            if pairs is not None:
                splits[split] = pairs
        self.complete(splits)
        source, target = (
            learn((pair[side] for pair in splits["train"]), self.units, self.max_vocabulary)
            for side in (0, 1)
        )
        if self.units == "subwords":
            for split, pairs in splits.items():
                splits[split] = [pair for pair in pairs if self.short(pair, [source, target], counts)]
        if self.train_max_length is not None:
            pairs = splits["train"]
            splits["train"] = [
                pair for pair in pairs if tokens(pair, [source, target]) <= self.train_max_length
            ]
            counts["too_long_to_train_on"] = len(pairs) - len(splits["train"])
        self.complete(splits)
        return ParallelTextDataset(self, splits, source, target, dict(counts), files)

    def complete(self, splits: dict[str, Lines]) -> None:
        """Raise `DataError` if a split is left without pairs."""
        for split, pairs in splits.items():
            if not pairs:
                raise DataError(
                    f"{self.path or self.source_path}: no pairs for {split}; use more lines, a larger "
                    f"{split}_fraction or max_length, or a file of its own"
                )

    def short(
        self, pair: tuple[str, str, str], spellers: list[Speller], counts: collections.Counter[str]
    ) -> bool:
        """Whether a pair is short enough as subwords, which are known only once they are learned."""
        found = tokens(pair, spellers)
        return found <= self.max_length or self.excessive(pair[2], found, counts)

    def excessive(self, place: str, found: int, counts: collections.Counter[str]) -> bool:
        """Count a pair of `found` tokens as skipped, or by policy raise `DataError`. Returns False."""
        if self.too_long == "error":
            raise DataError(
                f"{place}: {found} tokens; expected at most max_length = {self.max_length}; "
                "shorten the line, raise max_length, or set too_long = 'skip'"
            )
        counts["too_long_lines_skipped"] += 1
        return False

    def read(
        self, prefix: str, counts: collections.Counter[str], files: list[dict[str, Any]]
    ) -> Lines | None:
        """The pairs of one split, as (source, target, place), or `None` if no file is named.

        What was skipped is added to `counts`, facts on the files to `files`.
        """
        names = [f"{prefix}path", f"{prefix}source_path", f"{prefix}target_path"]
        both, source, target = (getattr(self, name) for name in names)
        given = [name for name in names if getattr(self, name) is not None]
        if not given:
            return None
        if both is not None and len(given) == 1:
            found = self.columns(both, counts, files)
        elif source is not None and target is not None and both is None:
            found = aligned(source, target, self.encoding, files)
        else:
            raise ConfigError(
                f"{' and '.join(given)}: expected either {names[0]}, or {names[1]} and {names[2]}"
            )
        return [pair for pair in found if self.usable(*pair, counts)]

    def columns(self, path: str, counts: collections.Counter[str], files: list[dict[str, Any]]) -> Lines:
        """The pairs of one table."""
        table = read(self, path, self.roles(), self.extra_columns)
        files.append(table.facts)
        if table.wide:
            counts["lines_with_extra_columns"] += table.wide
        return [(spaced(source), spaced(target), place) for (source, target), place in table.rows]

    def usable(self, source: str, target: str, place: str, counts: collections.Counter[str]) -> bool:
        """Whether a pair is kept; by policy the others are counted or raise."""
        if not source or not target:
            if self.blank_lines == "error":
                side = (
                    "both sides are"
                    if source == target
                    else "the source is"
                    if not source
                    else "the target is"
                )
                raise DataError(f"{place}: {side} empty; remove the line, or set blank_lines = 'skip'")
            counts["blank_lines_skipped"] += 1
            return False
        longest = max(size(source, self.units), size(target, self.units))
        return longest <= self.max_length or self.excessive(place, longest, counts)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A text to translate.

        Raises:
            DataError: for an empty text, one longer than `max_length` tokens, and unknown words if
                `unknown` is `"refuse"`.
        """
        return untranslated(text, info, self.unknown)


def untranslated(text: str, info: DatasetInfo, unknown: Unknown) -> Example:
    """A text to translate; `DataError` if it is empty or too long."""
    text = spaced(text)
    pieces = spelled(info.speller, text, unknown) if info.speller else []
    if not pieces:
        raise DataError("an empty text; expected something to translate")
    if len(pieces) > info.source_length:
        raise DataError(
            f"{shown(text)}: {len(pieces)} tokens; expected at most {info.source_length}, the longest "
            "source of the data; translate it in parts"
        )
    return Example(prompt=text, answer="", source=tuple(pieces), inputs=(Vocabulary.BEGIN,), labels=())


class ParallelTextDataset(PairDataset):
    """The user's pairs as token ids."""

    def __init__(
        self,
        task: Task,
        splits: dict[str, Lines],
        source: Speller,
        target: Speller,
        counts: dict[str, int],
        files: list[dict[str, Any]],
    ):
        self.speller: Speller = source
        self.target = target
        pairs = {split: self._tokenized(lines) for split, lines in splits.items()}
        unknown = {
            f"unknown_{name}_tokens": {
                split: round(float((getattr(some, rows).flat == speller.unknown).mean()), 4)
                for split, some in pairs.items()
            }
            for name, rows, speller in (("source", "sources", source), ("target", "targets", target))
        }
        known = {text for text, _, _ in splits["train"]}
        repeated = {
            split: sum(text in known for text, _, _ in lines)
            for split, lines in splits.items()
            if split != "train"
        }
        train = pairs.pop("train")
        super().__init__(
            task=task,
            train=train,
            held_out=pairs,
            vocabulary=target.vocabulary,
            source_vocabulary=source.vocabulary,
            facts={"files": files, **counts, **unknown, "sources_also_in_train": repeated},
            longer=list(pairs) if "too_long_to_train_on" in counts else (),
        )
        answer = collections.Counter(train.answers).most_common(1)[0][0]
        right = [other == answer for other in pairs[self.splits[0]].answers]
        self.floors = {**self.floors, "exact_match": sum(right) / len(right)}
        self.metric_units = {"bleu": "points"}

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """As all pairs, and `bleu` in points where the package `sacrebleu` is installed.

        Source: Post 2018, arXiv 1804.08771: corpus BLEU, case kept, its own tokens ("13a").
        """
        found = super().score(examples, predictions)
        if found and importlib.util.find_spec("sacrebleu"):
            import sacrebleu

            answers = [example.answer for example in examples]
            found["bleu"] = sacrebleu.corpus_bleu(list(predictions), [answers]).score
        return found

    def _tokenized(self, lines: Lines) -> TokenPairs:
        sources = [self.speller.encode(source) for source, _, _ in lines]
        targets = [[*self.target.encode(target), Vocabulary.END] for _, target, _ in lines]
        return TokenPairs(
            prompts=[source for source, _, _ in lines],
            answers=[target for _, target, _ in lines],
            sources=RaggedTokens.of(sources),
            targets=RaggedTokens.of(targets),
        )


def tokens(pair: tuple[str, str, str], spellers: Sequence[Speller]) -> int:
    """Tokens of the longer side of a pair."""
    return max(len(speller.encode(text)) for speller, text in zip(spellers, pair[:2], strict=True))


def aligned(source_path: str, target_path: str, encoding: str | None, files: list[dict[str, Any]]) -> Lines:
    """The pairs of two files of equally many lines."""
    sources, targets = (read_text(path, encoding=encoding) for path in (source_path, target_path))
    files += [sources.facts, targets.facts]
    if len(sources.lines) != len(targets.lines):
        raise DataError(
            f"{source_path}:{len(sources.lines)}: the last line, but {target_path} has "
            f"{len(targets.lines)} lines; expected as many in both files, line by line translations"
        )
    return [
        (spaced(source), spaced(target), f"{source_path}:{number}")
        for number, (source, target) in enumerate(zip(sources.lines, targets.lines, strict=True), start=1)
    ]
