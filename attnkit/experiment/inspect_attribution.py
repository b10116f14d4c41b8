"""Attribution to the tokens of some examples: gradients and attention beside each other."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.experiment import attention
from attnkit.experiment.highlight import spelled
from attnkit.experiment.inspect import Inspection, log_probability, of_session
from attnkit.experiment.session import Session
from attnkit.inspection.attribution import attention_relevance, input_gradient, integrated_gradients, rollout
from attnkit.inspection.head_scores import shares
from attnkit.inspection.heads_page import Attribution
from attnkit.points import names, observe

STEPS = 16


def attributions(session: Session, found: Inspection, count: int) -> Iterator[Attribution]:
    """For the first `count` examples that are tokens, one number a token by each method that applies.

    Weights are those of the head with the largest effect, means over the rows of the answer.
    """
    reads = [one for one in found.reads[:count] if one.example.source_features is None]
    if not reads:
        return
    numbers = {**gradients(session, reads), **of_attention(session, reads)}
    best = next((row.head for row in found.rows), None)
    for n, one in enumerate(reads):
        tokens = spelled(session, one.example)[0]
        methods = []
        reads_source = bool(one.example.source_size)
        if best is not None and best.map in one.maps and attention.is_cross(best.map) == reads_source:
            rows = shares(one.maps[best.map][best.head])
            methods.append((f"weights of {best}", rows.mean(axis=0)))
        methods += [(name, values[n]) for name, values in numbers.items()]
        yield Attribution(
            one.example.prompt, tokens, tuple((name, values[: len(tokens)]) for name, values in methods)
        )


def prepared(session: Session, reads: Sequence[attention.Read]) -> tuple[Any, Any, dict[str, Any]]:
    """The model, the log-probability of the answers, and the batch of some examples."""
    examples, answers = [one.example for one in reads], [one.labels for one in reads]
    batch = {name: jnp.asarray(a) for name, a in attention.batch_of(session, examples, answers).items()}
    return of_session(session), log_probability(examples, answers), batch


def gradients(session: Session, reads: Sequence[attention.Read]) -> dict[str, np.ndarray]:
    """Gradient times input and integrated gradients, `[examples, tokens]`; none without an embedding."""
    model, metric, batch = prepared(session, reads)
    embedding = next((name for name in names(model, batch) if name.endswith("embedding")), None)
    if embedding is None:
        return {}
    return {
        "gradient times input": np.asarray(input_gradient(model, metric, embedding, batch)),
        "integrated gradients": np.asarray(
            integrated_gradients(model, metric, embedding, batch, steps=STEPS).attribution
        ),
    }


def of_attention(session: Session, reads: Sequence[attention.Read]) -> dict[str, np.ndarray]:
    """Rollout, and attention times gradient of a decoder, `[examples, tokens]`, if every layer has weights.

    With a source, rollout is that of the encoder, read through the last cross-attention.
    """
    model, metric, batch = prepared(session, reads)
    source = "source" in batch
    side = "source" if source else "inputs"
    tokens = batch[side].shape[1] if side in batch else 0
    points = names(model, batch)
    shapes = {
        name.removesuffix(".weights"): point.shape
        for name, point in points.items()
        if name.endswith(".weights") and len(point.shape) == 4
    }
    every = [name.removesuffix(".mixer_output") for name in points if name.endswith(".mixer_output")]
    layers = [p for p in every if attention.of_encoder(p) == source and not attention.is_cross(p)]
    cross = [path for path, shape in shapes.items() if attention.is_cross(path) and shape[3] == tokens]
    square = all(shapes.get(path, ())[2:] == (tokens, tokens) for path in layers)
    if not layers or not square or (source and not cross):
        return {}
    read = [f"{path}.weights" for path in (*layers, *cross[-1:])]
    weights = jax.jit(lambda batch: observe(model, read=read)(batch).values)(batch)
    rows = rollout(np.stack([shares(weights[f"{path}.weights"]) for path in layers]))
    if source:
        rows = shares(weights[f"{cross[-1]}.weights"]).mean(axis=1) @ rows
    made = {"rollout": at_answers(rows, reads)}
    if not source:
        relevance = np.asarray(attention_relevance(model, metric, layers, batch))
        made["attention times gradient"] = at_answers(relevance - np.eye(tokens), reads)
    return made


def at_answers(rows: np.ndarray, reads: Sequence[attention.Read]) -> np.ndarray:
    """Means over the rows where each example's answer is written, `[examples, keys]`."""
    spans = [(len(one.example.inputs) - 1, len(one.labels)) for one in reads]
    return np.stack(
        [one[first : first + size].mean(axis=0) for one, (first, size) in zip(rows, spans, strict=True)]
    )
