"""Dialogue file: learn to answer as the user's own dialogues do."""

import collections
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks.chat_formats import SPEAKERS, Turn, answering, turns_of
from attnkit.tasks.contract import DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.divide import held_out
from attnkit.tasks.draws import permutation
from attnkit.tasks.pair_dataset import PairDataset, TokenPairs
from attnkit.tasks.records import json_values
from attnkit.tasks.spelling import Speller
from attnkit.tasks.token_rows import RaggedTokens
from attnkit.tasks.units import Unknown, learn, spaced, spelled

SHUFFLED = 2


@options
class DialogueFile(Task):
    """Answer as the dialogues of a file do.

    The file holds a JSON value a line, or one list of such values, and may be in gzip format. A value is an
    object with a list `turns`, `messages` (as of OpenAI) or `conversations` (as of ShareGPT), or the list
    itself. A turn is a text, then *user* and *bot* speak in turn, or an object with `speaker` and `text`,
    `role` and `content`, or `from` and `value`; the roles *human*, *assistant*, *gpt* and *model* are *user*
    and *bot*. Every turn of `answers` after the first turn of a dialogue is an example: the source is the
    turns before it, each behind its speaker's name, and `source_segment` the turn of each token. Whole
    dialogues are held out, so that no split has a turn of another's dialogue.

    Attributes:
        path: the dialogues to learn from.
        valid_path: those that choose the best checkpoint.
        test_path: those that measure the result.
        valid_fraction: share of the file's dialogues that is held out if there is no file for `valid`.
        test_fraction: the same for `test`; 0 for no test split.
        answers: speaker whose turns are learned; without one *bot*, or else the second speaker of each
            dialogue.
        history: which of the turns before it an answer may depend on: all, the last, all but with those
            before the last in random order, or none.
        units: kind of tokens; subwords need the `tokenizers` package.
        unknown: what to do with words of a user's text that the vocabulary lacks: read them as `<unknown>`,
            or stop and say what is known.
        max_vocabulary: at most so many tokens, special ones included.
        max_turns: most turns of the source, the oldest are left out.
        max_source: most tokens of the source, the oldest are left out.
        max_length: longest answer, in tokens; longer ones are skipped and counted.
        encoding: encoding of the files, such as `cp1252`; by default UTF-8, or what a byte order mark says.
        blank_lines: what to do with lines without dialogue.
    """

    path: str | None = None
    valid_path: str | None = None
    test_path: str | None = None
    valid_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    answers: str | None = None
    history: Literal["full", "last", "shuffled", "none"] = "full"
    units: Literal["words", "characters", "subwords"] = "words"
    unknown: Unknown = "map"
    max_vocabulary: Annotated[int, Ge(5)] = 8000
    max_turns: Annotated[int, Ge(1)] = 8
    max_source: Annotated[int, Ge(4)] = 128
    max_length: Annotated[int, Ge(1)] = 48
    encoding: str | None = None
    blank_lines: Literal["skip", "error"] = "skip"

    def load(self) -> "DialogueFileDataset":
        """The examples of all splits.

        Raises:
            ConfigError: if no file is named.
            DataError: with file and line for bad files, and if a split is left without examples.
        """
        if self.path is None:
            raise ConfigError("path: no dialogues; name a file with a JSON dialogue a line")
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
                splits[split], splits["train"] = held_out(splits["train"], split, fraction, json.dumps)
        speller = learn(
            (text for turns in splits["train"] for text in map(line_of, turns)),
            self.units,
            self.max_vocabulary,
        )
        return DialogueFileDataset(self, splits, speller, counts, files)

    def read(
        self, path: str, counts: collections.Counter[str], files: list[dict[str, Any]]
    ) -> list[list[Turn]]:
        """The dialogues of a file."""
        found = []
        for value, place in json_values(path, self.encoding, files):
            if value is None:
                if self.blank_lines == "error":
                    raise DataError(f"{place}: an empty line; remove it, or set blank_lines = 'skip'")
                counts["blank_lines_skipped"] += 1
                continue
            found.append(turns_of(value, place, counts))
        return found

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A dialogue to answer, a turn a line; *user* said the last turn, *bot* the one before, and so on.

        Turns are left out, the oldest first, where there are more than in any dialogue of the files.

        Raises:
            DataError: for an empty last turn, and unknown words in it if `unknown` is `"refuse"`.
        """
        lines = [spaced(line) for line in text.strip("\n").split("\n")]
        if not lines[-1] or info.speller is None:
            raise DataError("an empty turn; expected something to answer")
        spelled(
            info.speller, lines[-1], self.unknown
        )  # what was said before is the network's own, or was read
        lines = lines[-info.segments :]
        names = [SPEAKERS[(len(lines) - 1 - number) % 2] for number in range(len(lines))]
        source, segment = self.source(info.speller, list(zip(names, lines, strict=True)), 0)
        prompt = info.vocabulary.text(source)
        return Example(prompt, "", tuple(source), (Vocabulary.BEGIN,), (), segment=tuple(segment))

    def source(self, speller: Speller, turns: list[Turn], number: int) -> tuple[list[int], list[int]]:
        """Token ids of the turns that an answer may depend on, and the turn of each."""
        turns = turns[-self.max_turns :]
        if self.history == "last":
            turns = turns[-1:]
        elif self.history == "shuffled":
            order = permutation(len(turns) - 1, SHUFFLED, number, len(turns))
            turns = [*(turns[place] for place in order), turns[-1]]
        elif self.history == "none":
            turns = [(turns[-1][0], "")]
        said = [speller.encode(line_of(turn)) for turn in turns]
        while len(said) > 1 and sum(map(len, said)) > self.max_source:
            said = said[1:]
        source = [token for turn in said for token in turn][-self.max_source :]
        segment = [place for place, turn in enumerate(said) for _ in turn][-self.max_source :]
        return source, segment


class DialogueFileDataset(PairDataset):
    """The user's dialogues, an example for each answer."""

    dialogue = True

    def __init__(
        self,
        task: DialogueFile,
        splits: Mapping[str, list[list[Turn]]],
        speller: Speller,
        counts: collections.Counter[str],
        files: list[dict[str, Any]],
    ):
        self.task = task
        self.speller: Speller = speller
        pairs = {split: self._pairs(split, dialogues, counts) for split, dialogues in splits.items()}
        for split, some in pairs.items():
            if not len(some):
                raise DataError(
                    f"{task.path}: no answers for {split}; use more dialogues, a larger fraction, "
                    "a larger max_length or another speaker in answers"
                )
        train = pairs.pop("train")
        super().__init__(
            task=task,
            train=train,
            held_out=pairs,
            vocabulary=speller.vocabulary,
            source_vocabulary=speller.vocabulary,
            facts={
                "dialogues": {split: len(dialogues) for split, dialogues in splits.items()},
                "files": files,
                **counts,
                "unknown_target_tokens": {
                    split: round(float((some.targets.flat == speller.unknown).mean()), 4)
                    for split, some in {"train": train, **pairs}.items()
                },
            },
        )
        answer = collections.Counter(train.answers).most_common(1)[0][0]
        right = [other == answer for other in pairs[self.splits[0]].answers]
        self.floors = {**self.floors, "exact_match": sum(right) / len(right)}

    def _pairs(
        self, split: str, dialogues: Sequence[list[Turn]], counts: collections.Counter[str]
    ) -> TokenPairs:
        prompts, answers, sources, targets, segments = [], [], [], [], []
        for number, turns in enumerate(dialogues):
            named = self.task.answers or answering(turns)
            for place, (speaker, text) in enumerate(turns):
                if place == 0 or speaker != named:
                    continue
                # With the space before its first word, the answer's words are those of the source.
                text = f" {text}"
                target = self.speller.encode(text)
                if len(target) > self.task.max_length:
                    counts["too_long_answers_skipped"] += 1
                    continue
                source, segment = self.task.source(self.speller, turns[:place], number)
                prompts.append(self.speller.vocabulary.text(source))
                answers.append(text)
                sources.append(source)
                segments.append(segment)
                targets.append([*target, Vocabulary.END])
        return TokenPairs(
            prompts, answers, RaggedTokens.of(sources), RaggedTokens.of(targets), RaggedTokens.of(segments)
        )


def line_of(turn: Turn) -> str:
    """A turn as it is read: behind its speaker's name."""
    return f" {turn[0]} : {turn[1]}".rstrip()
