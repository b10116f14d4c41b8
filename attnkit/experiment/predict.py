"""A trained network at work on texts, which it translates, continues or classifies; and where it looked."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from attnkit import files
from attnkit.errors import ConfigError, DataError
from attnkit.experiment import attention, decode, folder, highlight
from attnkit.experiment.provenance import NOTHING, Allow
from attnkit.experiment.run import changed, head_of
from attnkit.experiment.session import Session, reopen
from attnkit.generation.plan import Decoding
from attnkit.inspection import page, pictures
from attnkit.inspection.maps import Head
from attnkit.inspection.report import Report
from attnkit.tasks.contract import Example

LARGEST = 1_000_000
LONGEST = 4096
LONGEST_LOOKED = 1024
MOST_PICTURES = 8


@dataclasses.dataclass(frozen=True)
class Written:
    """Output of a network for a text.

    Attributes:
        text: what it was given.
        example: the same in tokens.
        tokens: what it wrote, with `END` if that came.
        output: the same as text.
        whole: the output, behind the text if the network continues texts.
    """

    text: str
    example: Example
    tokens: tuple[int, ...]
    output: str
    whole: str


@dataclasses.dataclass(frozen=True)
class Writer:
    """A run's network with a way to decode.

    Attributes:
        session: the network and its data.
        decoding: how it writes.
        head: the head that agrees best with the evidence, if the run found one.
        seed: of the random numbers of sampling.
    """

    session: Session
    decoding: Decoding
    head: Head | None
    seed: int = 0

    def encode(self, text: str) -> Example:
        """`text` as tokens. Raises `DataError` if it cannot be read, or is too long to be read in one go."""
        if len(text) > LARGEST:
            raise DataError(f"{len(text)} characters; expected at most {LARGEST}; give it in parts")
        example, dataset = self.session.dataset.encode(text), self.session.dataset
        most = max(LONGEST, dataset.length, dataset.source_length)
        tokens = max(example.source_size, len(example.inputs))
        if tokens > most:
            raise DataError(f"{tokens} tokens; expected at most {most}; give it in parts")
        return example

    def write(self, examples: Sequence[tuple[str, Example]]) -> list[Written]:
        """Outputs for texts."""
        if not examples:
            return []
        read = [example for _, example in examples]
        vocabulary = self.session.dataset.vocabulary
        joiner = vocabulary.joiner if self.session.dataset.source_vocabulary is None else None
        found = []
        for (text, example), tokens in zip(
            examples, decode.write(self.session, read, self.decoding, self.seed), strict=True
        ):
            output = vocabulary.text(tokens)
            whole = output if joiner is None or example.source_size else followed(text, output, joiner)
            found.append(Written(text, example, tokens, output, whole))
        return found

    def lines(
        self,
        lines: Iterable[tuple[str, str]],
        together: int = decode.TOGETHER,
        idle: Callable[[], bool] = lambda: False,
    ) -> Iterator[Written | None]:
        """Outputs for each line, in order; `None` for a blank line.

        Args:
            lines: the texts, and the place of each for errors.
            together: most lines that are read before they are answered.
            idle: whether to answer those that were read before the next one.

        Raises:
            DataError: with the place of the line that cannot be read.
        """
        waiting: list[tuple[str, Example] | None] = []
        for line, place in lines:
            try:
                waiting.append((line, self.encode(line)) if line.strip() else None)
            except DataError as error:
                raise DataError(f"{place}: {error}") from None
            if len(waiting) == together or idle():
                yield from self.filled(waiting)
                waiting = []
        yield from self.filled(waiting)

    def filled(self, waiting: Sequence[tuple[str, Example] | None]) -> Iterator[Written | None]:
        """Outputs for the lines that are not blank, at their places."""
        found = iter(self.write([one for one in waiting if one is not None]))
        yield from (None if one is None else next(found) for one in waiting)

    def seen(self, written: Sequence[Written]) -> list[highlight.Highlight]:
        """Attention of each output. Raises `ConfigError` where it is undefined."""
        self.check_looked(written)
        read = [one.example for one in written]
        return highlight.seen(self.session, read, [one.tokens for one in written], self.head)

    def picture(self, written: Sequence[Written], file: Path) -> None:
        """Write a picture of the maps: of one text as `.png` or `.svg`, of some as an `.html` page."""
        self.check_looked(written)
        read = [one.example for one in written]
        shown = attention.map_examples(self.session, read, [one.tokens for one in written], self.head)
        if not shown or not all(one.maps for one in shown):
            raise ConfigError("the network has no attention to draw")
        form = file.suffix.removeprefix(".")
        if form == "html":
            title = f"Attention of {self.session.name}"
            made = page.render(Report(title=title, attention=shown)).encode()
        else:
            (one,) = shown
            drawn, head = one.maps[one.selected[0]], one.selected[1]
            kind = cast(Literal["png", "svg"], form)
            made = pictures.picture(
                drawn.weights[head],
                drawn.queries,
                drawn.keys,
                f"{drawn.name}, {drawn.head_name(head)}",
                form=kind,
            )
        try:
            files.write(file, made)
        except OSError as error:
            raise ConfigError(f"--picture {file}: cannot be written: {error.strerror}") from None

    def check_looked(self, written: Sequence[Written]) -> None:
        """Refuse texts whose maps would not fit in memory."""
        dataset = self.session.dataset
        most = max(LONGEST_LOOKED, dataset.length, dataset.source_length)
        for one in written:
            tokens = max(one.example.source_size, len(one.example.inputs) + len(one.tokens))
            if tokens > most:
                raise DataError(
                    f"{tokens} tokens: attention is shown of at most {most}; leave out --highlight, --picture"
                )


def followed(text: str, output: str, joiner: str) -> str:
    """A text and what goes on from it, with `joiner` between words."""
    apart = joiner if text and output and not (text[-1:].isspace() or output[:1].isspace()) else ""
    return f"{text}{apart}{output}"


def opened(run: Path, changes: Mapping[str, Any], seed: int, allow: Allow = NOTHING) -> Writer:
    """A run's network, ready to write.

    Args:
        run: the run folder.
        changes: options of decoding to change.
        seed: of the random numbers of sampling.
        allow: what may be done with the run.

    Raises:
        ConfigError: for options that do not go together.
        CheckpointError: if no checkpoint can be used.
    """
    session = reopen(run, allow)
    file = run / folder.RESULT
    found = folder.read_json(file).get("alignment", {}) if file.is_file() else {}
    return Writer(session, changed(session.decoding, changes), head_of(found), seed)
