"""A dialogue with a trained network: the history is kept, and one may ask which turn an answer came from."""

import dataclasses
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment import decode, folder, highlight
from attnkit.experiment.provenance import NOTHING, Allow
from attnkit.experiment.run import changed, head_of
from attnkit.experiment.session import Session, reopen
from attnkit.generation.plan import Decoding
from attnkit.inspection.maps import Head
from attnkit.tasks.contract import Example


@dataclasses.dataclass
class Chat:
    """A dialogue that goes on.

    Attributes:
        session: the network.
        decoding: how it answers.
        head: the head that is asked which turn an answer came from; `None` for the mean of the last map.
        seed: of the random numbers of sampling.
        turns: what was said, the user's and the network's turns one after the other.
        last: the example and the answer of the last turn.
    """

    session: Session
    decoding: Decoding
    head: Head | None
    seed: int = 0
    turns: list[str] = dataclasses.field(default_factory=list)
    last: tuple[Example, tuple[int, ...]] | None = None

    def say(self, text: str) -> str:
        """The network's answer to `text`, which becomes part of the history.

        Raises:
            DataError: for a text that cannot be encoded; the history is then as before.
        """
        example = self.session.dataset.encode("\n".join([*self.turns, text]))
        (written,) = decode.write(self.session, [example], self.decoding, self.seed + len(self.turns))
        answer = " ".join(self.session.dataset.vocabulary.text(written).split())
        self.turns += [text, answer]
        self.last = (example, written)
        return answer

    def why(self) -> list[tuple[str, float]]:
        """Each turn that was read for the last answer, and the weight on it; the newest is last."""
        if self.last is None or not self.last[1]:
            return []
        example, written = self.last
        (found,) = highlight.seen(self.session, [example], [written], self.head)
        shares = highlight.by_turn(example, found)
        said = self.turns[: len(self.turns) - 1][-len(shares) :]
        return list(zip(said, shares, strict=False))

    def forget(self) -> None:
        """Begin again."""
        self.turns.clear()
        self.last = None


def begin(run: Path, changes: dict[str, Any], seed: int = 0, allow: Allow = NOTHING) -> Chat:
    """A dialogue with the network of a run.

    Raises:
        ConfigError: if the run's task reads no dialogues.
    """
    session = reopen(run, allow)
    if not session.dataset.dialogue:
        kind = session.config.table()["task"]["kind"]
        raise ConfigError(f"{run}: task {kind!r} reads no dialogues; use attnkit predict, or a dialogue task")
    file = run / folder.RESULT
    found = folder.read_json(file).get("alignment", {}) if file.is_file() else {}
    return Chat(session, changed(session.decoding, changes), head_of(found), seed)
