"""Attention of an answer to its source: for the terminal, and for the turns of a dialogue."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnkit.errors import ConfigError
from attnkit.experiment import attention
from attnkit.experiment.diagnostics import printable
from attnkit.experiment.session import Session
from attnkit.inspection.maps import Head, layer_name
from attnkit.tasks.contract import Example, Vocabulary

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

STRONG = 0.5


@dataclasses.dataclass(frozen=True)
class Highlight:
    """Attention of one head, or the mean of some, in an example.

    Attributes:
        tokens: spelling of what could be seen: the source, or a decoder's prompt.
        weights: `[tokens]`, the mean over the tokens that were written.
        joiner: what stands between tokens.
        head: which head it was.
        aligned: of a network that writes more than a class from a source, each piece it wrote, the token that
            weighed most all along, and its mean weight.
    """

    tokens: tuple[str, ...]
    weights: np.ndarray
    joiner: str
    head: str
    aligned: tuple[tuple[str, str, float], ...] = ()


def seen(
    session: Session, examples: Sequence[Example], written: Sequence[Sequence[int]], head: Head | None
) -> list[Highlight]:
    """Attention of the network in each example while it wrote `written`.

    Args:
        session: the network.
        examples: what it read.
        written: the token ids it wrote.
        head: the head to ask; without one, the mean of all heads of the last map of the source (or of the
            decoder's last layer where there is no source).

    Raises:
        ConfigError: if the network gives no map that says what it read.
    """
    return [one_seen(session, one, head) for one in attention.read(session, examples, written)]


def one_seen(session: Session, one: attention.Read, head: Head | None) -> Highlight:
    """`seen` of one example whose maps are read."""
    example = one.example
    cross = [name for name in one.maps if attention.is_cross(name)]
    names = cross if example.source_size else [n for n in one.maps if not attention.of_encoder(n)]
    if head is None or head.map not in names:
        head = None
    if not names:
        raise ConfigError("the network has no attention to what it reads, so nothing can be highlighted")
    weights = np.asarray(one.maps[head.map if head else names[-1]], np.float64)
    rows = weights[head.head] if head else weights.mean(axis=0)
    ends = np.array([token == Vocabulary.END for token in one.labels], bool)
    words = rows[~ends] if len(ends) == len(rows) and not ends.all() else rows
    tokens, joiner = spelled(session, example)
    name = str(head) if head else f"{layer_name(names[-1])}, mean of heads"
    pairs = aligned(session, one, rows[:, : len(tokens)], tokens) if cross and example.source_size else ()
    return Highlight(tokens, words.mean(axis=0)[: len(tokens)], joiner, name, pairs)


def aligned(
    session: Session, one: attention.Read, rows: np.ndarray, tokens: Sequence[str]
) -> tuple[tuple[str, str, float], ...]:
    """Runs of written tokens for which the same token weighs most, without `END`; none for a class alone."""
    vocabulary = session.dataset.vocabulary
    if len(one.labels) < 2 or len(rows) != len(one.labels):
        return ()
    runs: list[tuple[int, list[int]]] = []
    for place, token in enumerate(one.labels):
        if token != Vocabulary.END:
            most = int(rows[place].argmax())
            if runs and runs[-1][0] == most:
                runs[-1][1].append(place)
            else:
                runs.append((most, [place]))
    return tuple(
        (
            vocabulary.joiner.join(vocabulary.tokens[one.labels[place]] for place in places),
            tokens[most],
            float(rows[places, most].mean()),
        )
        for most, places in runs
    )


def spelled(session: Session, example: Example) -> tuple[tuple[str, ...], str]:
    """The tokens that a network reads of an example, and what stands between them."""
    dataset = session.dataset
    if example.source is not None and dataset.source_vocabulary is not None:
        vocabulary, ids = dataset.source_vocabulary, example.source
    else:
        vocabulary, ids = dataset.vocabulary, example.inputs
    return tuple(vocabulary.tokens[token] for token in ids), vocabulary.joiner


def by_turn(example: Example, found: Highlight) -> list[float]:
    """The weight on each turn of a dialogue, oldest first; they sum to at most 1."""
    segment = np.asarray(example.segment if example.segment is not None else np.zeros(len(found.tokens)))
    return [float(found.weights[segment == turn].sum()) for turn in range(int(segment[-1]) + 1)]


def terminal(found: Highlight) -> "Text":
    """The tokens on a background as strong as their weights, beside the heaviest; those in brackets too."""
    from rich.text import Text

    most = float(np.max(found.weights, initial=0.0)) or 1.0
    said = Text()
    for place, (token, weight) in enumerate(zip(found.tokens, found.weights, strict=True)):
        share = min(max(float(weight) / most, 0.0), 1.0)
        shade = [round(255 + share * (stop - 255)) for stop in (255, 170, 60)]
        style = f"black on rgb({shade[0]},{shade[1]},{shade[2]})" if share > 0.1 else ""
        word = printable(token, keep="")
        gap = found.joiner if place else ""
        if share >= STRONG:
            word = f"{word[: len(word) - len(word.lstrip())]}[{word.lstrip()}]"
        said.append(gap).append(word, style)
    return said


def table(found: Highlight) -> "Table | None":
    """Each written word with the source words that it attends to most; `None` where unknown."""
    from rich.table import Table
    from rich.text import Text

    if not found.aligned:
        return None
    made = Table(box=None, pad_edge=False, title=found.head, title_justify="left", title_style="dim")
    for name, side in (("written", "right"), ("read", "left"), ("weight", "right")):
        made.add_column(name, justify=side, no_wrap=True, header_style="dim")  # type: ignore[arg-type]
    for written, read, weight in found.aligned:
        made.add_row(Text(printable(written, keep="")), Text(printable(read, keep="")), f"{weight:.2f}")
    return made


def facts(found: Highlight) -> Mapping[str, Any]:
    """Attention as JSON."""
    return {
        "tokens": list(found.tokens),
        "weights": [round(float(weight), 6) for weight in found.weights],
        "head": found.head,
        "aligned": [
            {"written": written, "read": read, "weight": round(weight, 6)}
            for written, read, weight in found.aligned
        ],
    }
