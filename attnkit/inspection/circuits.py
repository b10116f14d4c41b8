"""Circuits: the edges between heads that an answer needs, as a graph."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from attnkit.inspection import notebook
from attnkit.inspection.heads import Metric, Model
from attnkit.inspection.interventions import Edge, path_effects
from attnkit.inspection.maps import Head


@dataclasses.dataclass(frozen=True)
class Circuit:
    """A graph of heads.

    Attributes:
        edges: those that matter, with their effects, the largest first.
        threshold: the least effect of an edge that matters.
    """

    edges: Mapping[Edge, float]
    threshold: float

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads at its edges, in order of layers."""
        ends = {head for edge in self.edges for head in (edge.sender, edge.receiver) if head is not None}
        return tuple(sorted(ends))

    def _repr_html_(self) -> str:
        from attnkit.inspection.heads_page import HeadReport  # which draws circuits

        return notebook.frame(heads=HeadReport(circuits=(("Circuit", self),)))

    def facts(self) -> dict[str, Any]:
        """The graph as JSON."""
        edges = [{"edge": str(edge), "effect": effect} for edge, effect in self.edges.items()]
        return {"heads": [str(head) for head in self.heads], "edges": edges, "threshold": self.threshold}


def find_circuit(
    f: Model,
    metric: Metric,
    base: Any,
    other: Any,
    *,
    threshold: float,
    inputs: tuple[str, ...] = ("q", "k", "v"),
) -> Circuit:
    """The edges whose senders' outputs on `other`, alone, change the mean metric by at least `threshold`.

    Every edge is cut by itself, which does not find edges that stand in for each other. Edges to heads that
    do not matter are left out, from the logits down.

    Args:
        f: the model, of one argument.
        metric: of its output.
        base: argument of the run that is changed.
        other: argument that replaced outputs come from.
        threshold: least change of the metric.
        inputs: inputs of receivers, as for `path_effects`.

    Source: edges by path patching, Wang et al. 2022, arXiv 2211.00593; pruning Conmy et al. 2023 (ACDC),
    arXiv 2304.14997.
    """
    whole = float(np.mean(jax.jit(lambda base: metric(f(base)))(base)))
    effects = {
        edge: abs(whole - float(np.mean(after)))
        for edge, after in path_effects(f, metric, base, other, inputs=inputs).items()
    }
    strong = {edge: effect for edge, effect in effects.items() if effect >= threshold}
    reached: set[Head | None] = {None}
    while True:
        more = {edge.sender for edge in strong if edge.receiver in reached} - reached
        if not more:
            break
        reached |= more
    kept = {edge: effect for edge, effect in strong.items() if edge.receiver in reached}
    return Circuit(dict(sorted(kept.items(), key=lambda item: -item[1])), threshold)
