"""A look inside a trained network: what each head looks at, and whether that matters for the answer."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from attnkit.errors import ConfigError
from attnkit.experiment import attention, decode
from attnkit.experiment.session import Session, fresh_like
from attnkit.inspection import head_scores
from attnkit.inspection.circuits import Circuit, find_circuit
from attnkit.inspection.interventions import ablate, interval, knock_out, possible_edges
from attnkit.inspection.maps import Alignment, Head, align_heads
from attnkit.points import names
from attnkit.tasks.contract import Example

Verdict = Literal[
    "looks and matters", "looks, does not matter", "matters, looks elsewhere", "matters", "idle"
]
EXAMPLES = 32
#: A head matters if resampling it costs an answer at least so many nats, and the interval, if
#: there is more than one example, excludes 0.
MATTERS = 0.02
#: A head looks at the evidence if so much more of its weight lies there than uniform attention has.
LOOKS = 0.2
#: A score that names what a head looks at.
NAMED = 0.4
#: Edges of the largest network whose circuit is searched.
MOST_EDGES = 400


@dataclasses.dataclass(frozen=True)
class HeadRow:
    """One head.

    Attributes:
        head: which.
        kind: of its map; empty if it has none.
        looks_at: kind of tokens that most of its weight lies on, and the share; empty if nothing stands out.
        evidence: alignment with the evidence; `None` where there is none.
        effect: nats of the answer's log-probability, per token, that resampling the head costs.
        interval: of the effect, 95 %; `None` of a single example.
        verdict: one of five; `matters` alone where no evidence is known.
    """

    head: Head
    kind: str
    looks_at: str
    evidence: Alignment | None
    effect: float
    interval: tuple[float, float] | None
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class Edges:
    """Attention to the evidence, cut or kept alone, in all heads that evidence speaks of.

    Attributes:
        whole: log-probability of the answer, per token.
        without: the same without the edges to the evidence.
        alone: the same with no other edges of the rows that have evidence.
    """

    whole: float
    without: float
    alone: float


@dataclasses.dataclass(frozen=True)
class Subjects:
    """Texts, and the answers that a network is made to write.

    Attributes:
        examples: the texts.
        answers: token ids of their answers.
        others: for each, another text that heads are resampled from.
        other_answers: the answers of those.
    """

    examples: Sequence[Example]
    answers: Sequence[tuple[int, ...]]
    others: Sequence[Example]
    other_answers: Sequence[tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """All findings.

    Attributes:
        rows: heads, the largest effect first.
        edges: necessity and sufficiency of the evidence; `None` where there is none.
        control: alignment of the best head of the network before training; `None` without evidence.
        reasons: of layers without a map, by path.
        reads: the examples with their maps.
        circuit: edges between heads; `None` if they were not asked for.
        count: how many examples were used.
    """

    rows: tuple[HeadRow, ...]
    edges: Edges | None
    control: Alignment | None
    reasons: Mapping[str, str]
    reads: tuple[attention.Read, ...]
    circuit: Circuit | None
    count: int

    def facts(self) -> dict[str, Any]:
        """The findings as JSON."""
        rows = [
            {
                "head": str(row.head),
                "map": row.kind,
                "looks_at": row.looks_at,
                "evidence": None if row.evidence is None else dataclasses.asdict(row.evidence),
                "effect": row.effect,
                "interval": row.interval,
                "verdict": row.verdict,
            }
            for row in self.rows
        ]
        found = {
            "examples": self.count,
            "heads": rows,
            "edges": None if self.edges is None else dataclasses.asdict(self.edges),
            "untrained": None if self.control is None else dataclasses.asdict(self.control),
            "without_map": dict(self.reasons),
            "circuit": None if self.circuit is None else self.circuit.facts(),
        }
        return json.loads(json.dumps(found), parse_constant=lambda _: None)  # type: ignore[no-any-return]


def inspect(session: Session, subjects: Subjects, circuit: bool = False) -> Inspection:
    """Look inside a network while it writes the answers of `subjects`.

    Args:
        session: the network.
        subjects: texts and answers, its own or those of another network that reads the same tokens.
        circuit: whether to search the edges between heads.

    Raises:
        ConfigError: if the network has no heads, or too many edges.
    """
    examples, answers = subjects.examples, subjects.answers
    batch, other = batches(session, subjects)
    model, metric = of_session(session), log_probability(examples, answers)
    points = names(model, batch)
    if not any(name.endswith(".head_output") for name in points):
        raise ConfigError("the network has no heads, so there is nothing to inspect")
    if circuit and (edges := len(possible_edges(model, batch))) > MOST_EDGES:
        raise ConfigError(
            f"--circuit: the network has {edges} edges between heads; expected at most {MOST_EDGES}: leave "
            "it out, or search some of the edges with attnkit.inspection.path_effects"
        )
    base = np.asarray(jax.jit(lambda batch: metric(model(batch)))(batch), np.float64)
    effects = {
        head: base - after
        for head, after in ablate(model, metric, batch, fill="resample", other=(other,)).items()
    }
    reads = attention.read(session, examples, answers)
    aligned = evidence_of(reads)
    profiles = profiled(session, batch)
    kinds = reads[0].kinds
    rows = [
        row_of(head, effect, aligned.get(head), profiles.get(head, ""), kinds.get(head.map, ""))
        for head, effect in effects.items()
    ]
    rows.sort(key=lambda row: -row.effect)
    missing = attention.missing_maps(session.network, batch)
    untrained = evidence_of(attention.read(fresh_like(session), examples, answers)) if aligned else {}
    best = max(untrained.values(), key=lambda found: found.accuracy, default=None)
    cut = evidence_edges(model, metric, batch, examples, sorted({head.map for head in aligned}), points)
    return Inspection(
        tuple(rows),
        cut,
        best,
        missing,
        tuple(reads),
        find_circuit(model, metric, batch, other, threshold=MATTERS) if circuit else None,
        len(examples),
    )


def subjects(session: Session, texts: Sequence[str] = (), count: int = EXAMPLES) -> Subjects:
    """Texts and the answers that the network gives, or held-out examples and their answers.

    The other of each example is the next one, and of a single text a held-out example.

    Raises:
        ConfigError: if the task has no texts with answers.
        DataError: for texts that cannot be read.
    """
    if texts:
        read = [session.dataset.encode(text) for text in texts]
        written = decode.write(session, read, session.decoding, session.training.seed)
        answers = [tuple(tokens) for tokens in written]
    else:
        read = held_out(session, count)
        if len(read) < 2:
            raise ConfigError(
                "the task has no held-out examples with answers; give texts: attnkit inspect RUN TEXT"
            )
        answers = [example.labels for example in read]
    if len(read) > 1:
        return Subjects(read, answers, [*read[1:], read[0]], [*answers[1:], answers[0]])
    others = held_out(session, 1)
    if not others:
        raise ConfigError("one text: a head is resampled from another example; give two texts")
    return Subjects(read, answers, others, [others[0].labels])


def held_out(session: Session, count: int) -> list[Example]:
    """Held-out examples with answers, at most `count`."""
    splits = session.data.splits
    return [one for one in session.data.examples(splits[0], count) if one.labels] if splits else []


def refuse_other_tokens(session: Session, other: Session) -> None:
    """Raise `ConfigError` if two runs do not read and write the same tokens."""

    def spelling(one: Session) -> list[tuple[str, ...]]:
        data = one.dataset
        return [v.tokens if v else () for v in (data.vocabulary, data.source_vocabulary)]

    if spelling(session) != spelling(other):
        raise ConfigError(
            f"--with: {other.name} and {session.name} have different vocabularies; expected "
            "runs of the same task"
        )


def batches(session: Session, subjects: Subjects) -> tuple[dict[str, Array], dict[str, Array]]:
    """The batch of the examples, and one of the others that heads are resampled from."""
    count = len(subjects.examples)
    examples = [*subjects.examples, *subjects.others]
    both = attention.batch_of(session, examples, [*subjects.answers, *subjects.other_answers])
    arrays = {name: jnp.asarray(a) for name, a in both.items()}
    first, second = (
        {name: a[part] for name, a in arrays.items()} for part in (slice(count), slice(count, None))
    )
    return first, second


def of_session(session: Session) -> Callable[[Any], Array]:
    """The network as a function of a batch."""
    graph, params = nnx.split(session.network)
    return lambda batch: nnx.merge(graph, params)(batch).logits


def log_probability(
    examples: Sequence[Example], answers: Sequence[Sequence[int]]
) -> Callable[[Array], Array]:
    """The mean log-probability of each example's answer tokens, from the logits."""
    width = max(map(len, answers), default=0)
    labels, real = np.zeros((len(examples), width), int), np.zeros((len(examples), width), bool)
    for row, answer in enumerate(answers):
        labels[row, : len(answer)], real[row, : len(answer)] = answer, True
    begun = np.array([len(example.inputs) - 1 for example in examples])

    def metric(logits: Array) -> Array:
        places = jnp.minimum(begun[:, None] + jnp.arange(width), logits.shape[1] - 1)
        logs = jax.nn.log_softmax(logits)[jnp.arange(len(labels))[:, None], places, labels]
        return jnp.sum(jnp.where(real, logs, 0), axis=1) / jnp.maximum(real.sum(axis=1), 1)

    return metric


def evidence_of(reads: Sequence[attention.Read]) -> dict[Head, Alignment]:
    """Alignment of every head that evidence speaks of; sizes as shares for maps that are no distributions."""
    found = attention.observations(reads)
    if not found:
        return {}
    kinds = reads[0].kinds
    plain = [
        dataclasses.replace(
            one,
            maps={
                name: w if kinds.get(name) == "distribution" else head_scores.shares(w)
                for name, w in one.maps.items()
            },
        )
        for one in found
    ]
    return align_heads(plain)


def profiled(session: Session, batch: Mapping[str, Array]) -> dict[Head, str]:
    """The kind of tokens that each head of self-attention looks at most, if one stands out."""
    graph, params = nnx.split(session.network)
    maps = attention.all_maps(graph, params, dict(batch))
    found = {}
    for path, weights in maps.items():
        side = "source" if attention.of_encoder(path) else "inputs"
        if attention.is_cross(path) or side not in batch or weights.shape[-1] != batch[side].shape[1]:
            continue
        tokens = np.asarray(batch[side])
        scores = head_scores.profile(np.asarray(weights), tokens, tokens != 0)
        for n in range(weights.shape[1]):
            name = max(scores, key=lambda one: scores[one][n])
            share = scores[name][n]
            found[Head(path, n)] = f"{name} {share:.0%}" if share >= NAMED else ""
    return found


def row_of(head: Head, effect: np.ndarray, evidence: Alignment | None, looks_at: str, kind: str) -> HeadRow:
    """The row of one head."""
    mean, between = float(effect.mean()), interval(effect)
    matters = mean >= MATTERS and (between is None or between[0] > 0)
    looks = evidence is not None and evidence.mass - evidence.chance >= LOOKS
    verdict: Verdict
    if looks:
        verdict = "looks and matters" if matters else "looks, does not matter"
    else:
        verdict = "idle" if not matters else "matters, looks elsewhere" if evidence is not None else "matters"
    return HeadRow(head, kind, looks_at, evidence, mean, between, verdict)


def evidence_edges(
    model: Callable[[Any], Array],
    metric: Callable[[Array], Array],
    batch: Mapping[str, Array],
    examples: Sequence[Example],
    paths: Sequence[str],
    points: Mapping[str, Any],
) -> Edges | None:
    """Necessity and sufficiency of the edges to the evidence; `None` where no layer can be cut."""
    shapes = {path: points[f"{path}.weights"].shape for path in paths if f"{path}.weights" in points}
    shapes = {path: shape for path, shape in shapes.items() if len(shape) == 4}
    cut, others = {}, {}
    for path, (_, _, queries, keys) in shapes.items():
        marked = np.zeros((len(examples), queries, keys), bool)
        rows = np.zeros((len(examples), queries), bool)
        for n, example in enumerate(examples):
            if example.evidence is None:
                continue
            begun, evidence = len(example.inputs) - 1, example.evidence
            last = min(begun + len(evidence), queries)
            marked[n, begun:last, : evidence.shape[1]] = evidence[: last - begun, :keys]
            rows[n, begun:last] = evidence[: last - begun].any(axis=1)
        cut[path] = jnp.asarray(marked)[:, None]
        others[path] = jnp.asarray(rows[:, :, None] & ~marked)[:, None]
    if not cut:
        return None

    def run(batch: Any) -> tuple[Array, Array, Array]:
        outputs = (model(batch), knock_out(model, cut, batch), knock_out(model, others, batch))
        whole, without, alone = (jnp.mean(metric(output)) for output in outputs)
        return whole, without, alone

    return Edges(*(float(value) for value in jax.jit(run)(dict(batch))))
