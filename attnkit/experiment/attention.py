"""Where a trained network looks: its maps on examples, scored against evidence and ready to be drawn."""

import dataclasses
import functools
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from attnkit.errors import AttnkitError
from attnkit.experiment.decode import sources
from attnkit.experiment.session import Session
from attnkit.inspection.maps import Head, HeadChoice, Observation, choose_and_score
from attnkit.inspection.report import AttentionMap, MapExample
from attnkit.models.contract import Network, attention_maps, map_kinds
from attnkit.points import notes
from attnkit.tasks.contract import Example, Vocabulary

TOGETHER = 16
CHOOSING = 128
SCORING = 256


@dataclasses.dataclass(frozen=True)
class Read:
    """The maps of one example, cut to its lengths.

    Attributes:
        example: the example.
        inputs: token ids the decoder read.
        labels: token ids it wrote or was to write; row `r` of a decoder's map writes `labels[r]`.
        maps: name -> weights `[heads, queries, keys]`.
        kinds: name -> the kind of the map.
    """

    example: Example
    inputs: tuple[int, ...]
    labels: tuple[int, ...]
    maps: dict[str, np.ndarray]
    kinds: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def is_cross(name: str) -> bool:
    """Whether the map's queries are of the output and its keys of the source."""
    return name.endswith((".cross", ".pool"))


def of_encoder(name: str) -> bool:
    """Whether queries and keys are both of the encoder."""
    return name.startswith("encoder.")


class MapsError(AttnkitError):
    """The maps of a network cannot be computed. Says where; a run's results do not depend on them."""


def blame(error: Exception) -> str:
    """An error on one line, with the last line of code outside of installed packages that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message} ({places[-1].filename}, line {places[-1].lineno})"


def read(session: Session, examples: Sequence[Example], answers: Sequence[Sequence[int]]) -> list[Read]:
    """The maps of the network while it reads each example and is made to write the given answer."""
    graph, params = nnx.split(session.network)
    width = max(session.dataset.length, *map(len, fed_tokens(examples, answers)))
    found: list[Read] = []
    kinds: dict[str, Any] = {}
    for first in range(0, len(examples), TOGETHER):
        some = list(range(first, min(first + TOGETHER, len(examples))))
        padded = some + some[-1:] * (TOGETHER - len(some))
        batch = batch_of(session, [examples[n] for n in padded], [answers[n] for n in padded], width)
        try:
            kinds = kinds or map_kinds(session.network, batch)
            maps = {name: np.asarray(weights) for name, weights in all_maps(graph, params, batch).items()}
        except Exception as error:
            raise MapsError(f"no attention maps: {blame(error)}") from error
        for place, index in enumerate(some):
            example, labels = examples[index], tuple(answers[index])
            cut = {name: trimmed(name, weights[place], example, labels) for name, weights in maps.items()}
            found.append(Read(example, (*example.inputs, *labels[:-1]), labels, cut, kinds))
    return found


def fed_tokens(examples: Sequence[Example], answers: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The tokens that a decoder reads while it is made to write the answers."""
    return [(*e.inputs, *labels[:-1]) for e, labels in zip(examples, answers, strict=True)]


def batch_of(
    session: Session, examples: Sequence[Example], answers: Sequence[Sequence[int]], width: int | None = None
) -> dict[str, Any]:
    """The batch that makes the network write the answers, padded to `width` tokens."""
    fed = fed_tokens(examples, answers)
    inputs = np.full((len(fed), width or max(map(len, fed))), Vocabulary.PAD, np.int32)
    for row, tokens in zip(inputs, fed, strict=True):
        row[: len(tokens)] = tokens
    return {"inputs": inputs, **sources(examples, session.dataset.source_length)}


@functools.partial(jax.jit, static_argnames="graph")
def all_maps(graph: Any, params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """All maps of the network with graph definition `graph`."""
    return attention_maps(nnx.merge(graph, params), batch)


def missing_maps(network: Network, batch: dict[str, Any]) -> dict[str, str]:
    """Why layers of the network have no map, by their paths."""
    found = notes(network, batch)[1]
    return {name.rpartition(".")[0]: why for name, why in found.items() if name.endswith(".weights")}


def trimmed(name: str, weights: np.ndarray, example: Example, labels: Sequence[int]) -> np.ndarray:
    """`weights` without padding; rows of a decoder's maps are the places where `labels` are written."""
    source = example.source_size
    if of_encoder(name):
        return weights[:, :source, :source]
    begun = len(example.inputs) - 1
    keys = source if is_cross(name) else begun + len(labels)
    return weights[:, begun : begun + len(labels), :keys]


def observations(reads: Sequence[Read]) -> list[Observation]:
    """The maps evidence speaks of: cross-attention, or a decoder-only network's attention to its prompt."""
    found = []
    for one in reads:
        evidence = one.example.evidence
        if evidence is None or not evidence.any():
            continue
        if one.example.source_size:
            maps = {name: weights for name, weights in one.maps.items() if is_cross(name)}
        else:
            maps = {name: weights[:, :, : evidence.shape[1]] for name, weights in one.maps.items()}
        found.append(Observation(maps, evidence, example=identity(one.example)))
    return [one for one in found if one.maps]


def alignment(session: Session) -> tuple[str, HeadChoice] | None:
    """How well the best head finds the evidence, and on which split; `None` where there is no evidence.

    The head is chosen on the first split and scored on `test`, or without one on other examples of the
    first.
    """
    splits = session.dataset.splits
    if not splits:
        return None
    scored_on = "test" if "test" in splits else splits[0]
    if scored_on != splits[0]:
        choosing = session.data.examples(splits[0], CHOOSING)
        scoring = session.data.examples(scored_on, SCORING)
    else:
        both = session.data.examples(splits[0], CHOOSING + SCORING)
        choosing, scoring = both[: len(both) // 3], both[len(both) // 3 :]
    # Where there are few possible examples, two splits may share some.
    known = {identity(example) for example in scoring}
    choosing = [example for example in choosing if identity(example) not in known]
    if not all(any(e.evidence is not None for e in examples) for examples in (choosing, scoring)):
        return None
    both = [*choosing, *scoring]
    reads = read(session, both, [example.labels for example in both])
    first, second = observations(reads[: len(choosing)]), observations(reads[len(choosing) :])
    if not first or not second:
        return None
    return scored_on, choose_and_score(first, second)


def identity(example: Example) -> tuple[Any, ...]:
    """The identity of an example: all inputs and targets of the network."""
    vectors = example.source_features
    return (example.source, example.inputs, example.labels, None if vectors is None else vectors.tobytes())


def map_examples(
    session: Session, examples: Sequence[Example], written: Sequence[Sequence[int]], head: Head | None
) -> tuple[MapExample, ...]:
    """The pictures of some examples, as the network wrote them, the chosen head open first."""
    some = [(e, tokens) for e, tokens in zip(examples, written, strict=True) if tokens]
    if not some:
        return ()
    return tuple(
        map_example(session, one, head) for one in read(session, [e for e, _ in some], [t for _, t in some])
    )


def map_example(session: Session, one: Read, head: Head | None) -> MapExample:
    """The pictures of one example."""
    vocabulary = session.dataset.vocabulary
    names = sorted(one.maps, key=lambda name: (not is_cross(name), of_encoder(name)))
    maps = tuple(drawable(session, one, name) for name in names)
    selected, note = (0, 0), ""
    if head is not None and head.map in names:
        selected = (names.index(head.map), head.head)
        note = "Open: the head that agrees best with the evidence."
    got = vocabulary.text(one.labels)
    return MapExample(
        title=f"{one.example.prompt} \N{RIGHTWARDS ARROW} {got}", maps=maps, selected=selected, note=note
    )


def drawable(session: Session, one: Read, name: str) -> AttentionMap:
    """One map with its tokens."""
    dataset, example = session.dataset, one.example
    writes = tuple(dataset.vocabulary.tokens[token] for token in one.labels)
    reads = tuple(dataset.vocabulary.tokens[token] for token in one.inputs)
    source = tuple(
        (dataset.source_vocabulary or dataset.vocabulary).tokens[token] for token in example.source or ()
    )
    right = one.labels == example.labels and example.evidence is not None
    weights = one.maps[name]
    more: dict[str, Any] = {
        "kind": one.kinds.get(name, "signed"),
        "heads": tuple(str(Head(name, n)) for n in range(len(weights))),
    }
    if example.source_features is not None:
        source = places(session, example.source_size)
    if of_encoder(name):
        return AttentionMap(pretty(name), weights, source, source, "for", "looks at", **more)
    if is_cross(name):
        evidence = example.evidence if right else None
        image = picture(session, example)
        return AttentionMap(
            pretty(name),
            weights,
            writes,
            source,
            "writes",
            "reads",
            evidence=evidence,
            image=image,
            grid=dataset.grid or (0, 0),
            **more,
        )
    begun = len(example.inputs) - 1
    allowed = np.arange(len(reads)) <= begun + np.arange(len(writes))[:, None]
    evidence = None
    if right and not example.source_size and example.evidence is not None:
        evidence = np.zeros(weights.shape[1:], bool)
        evidence[:, : example.evidence.shape[1]] = example.evidence
    return AttentionMap(
        pretty(name), weights, writes, reads, "writes", "looks at", evidence=evidence, allowed=allowed, **more
    )


def picture(session: Session, example: Example) -> np.ndarray | None:
    """The picture of an example, uint8 `[height, width, 3]`; `None` without one."""
    image = session.dataset.picture(example)
    return None if image is None else np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def places(session: Session, count: int) -> tuple[str, ...]:
    """Names of source vectors: row and column of a patch, or a number."""
    rows, columns = session.dataset.grid or (0, 0)
    patches = [f"{place // columns + 1},{place % columns + 1}" for place in range(rows * columns)]
    return tuple(patches[:count] + [f"#{place + 1}" for place in range(len(patches), count)])


def pretty(name: str) -> str:
    """A map's path in words.

    >>> pretty("decoder.1.cross"), pretty("encoder.words.0.self"), pretty("document.pool")
    ('decoder cross-attention, L1', 'encoder words self-attention, L0', 'document pool')
    """
    parts = name.split(".")
    layers = [part for part in parts if part.isdigit()]
    words = " ".join(part for part in parts if not part.isdigit())
    return f"{words}-attention, L{'.'.join(layers)}" if layers and not parts[-1].isdigit() else words
