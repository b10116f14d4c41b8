"""Looking inside and intervening: `ak.inspection`. Pure functions of a model function and its arguments.

>>> import attnkit as ak, jax.numpy as jnp
>>> planted = ak.inspection.plant("previous token", examples=2)
>>> maps = ak.inspection.observe(planted.model(), read=["*.weights"])(jnp.asarray(planted.tokens)).values
>>> ak.inspection.head_scores.previous_token(maps["decoder.0.self.weights"]).round(2).tolist()
[1.0, 0.1]
"""

from typing import TYPE_CHECKING

from attnkit import lazy

if TYPE_CHECKING:
    from attnkit.inspection import head_scores
    from attnkit.inspection.attribution import (
        attention_relevance,
        direct_effects,
        flow,
        influence,
        input_gradient,
        integrated_gradients,
        logit_lens,
        rollout,
    )
    from attnkit.inspection.circuits import Circuit, find_circuit
    from attnkit.inspection.faithfulness import random_ranking, ranking_curves, with_uniform_attention
    from attnkit.inspection.heads import capture
    from attnkit.inspection.heads_page import HeadFinding, HeadReport
    from attnkit.inspection.interventions import (
        Edge,
        ablate,
        gate_gradients,
        interval,
        knock_out,
        patch,
        path_effects,
        rank_correlation,
        steer,
    )
    from attnkit.inspection.maps import Head, align, align_heads, head_statistics
    from attnkit.inspection.planted import plant
    from attnkit.inspection.probes import linear_probe
    from attnkit.inspection.report import AttentionMap, MapExample
    from attnkit.points import names, notes, observe, point, within

__all__ = [
    "AttentionMap",
    "Circuit",
    "Edge",
    "Head",
    "HeadFinding",
    "HeadReport",
    "MapExample",
    "ablate",
    "align",
    "align_heads",
    "attention_relevance",
    "capture",
    "direct_effects",
    "find_circuit",
    "flow",
    "gate_gradients",
    "head_scores",
    "head_statistics",
    "influence",
    "input_gradient",
    "integrated_gradients",
    "interval",
    "knock_out",
    "linear_probe",
    "logit_lens",
    "names",
    "notes",
    "observe",
    "patch",
    "path_effects",
    "plant",
    "point",
    "random_ranking",
    "rank_correlation",
    "ranking_curves",
    "rollout",
    "steer",
    "with_uniform_attention",
    "within",
]

_MODULES = {
    "inspection.attribution": (
        "attention_relevance",
        "direct_effects",
        "flow",
        "influence",
        "input_gradient",
        "integrated_gradients",
        "logit_lens",
        "rollout",
    ),
    "inspection.circuits": (
        "Circuit",
        "find_circuit",
    ),
    "inspection.faithfulness": (
        "random_ranking",
        "ranking_curves",
        "with_uniform_attention",
    ),
    "inspection.heads": ("capture",),
    "inspection.heads_page": ("HeadFinding", "HeadReport"),
    "inspection.interventions": (
        "Edge",
        "ablate",
        "gate_gradients",
        "interval",
        "knock_out",
        "patch",
        "path_effects",
        "rank_correlation",
        "steer",
    ),
    "inspection.maps": (
        "Head",
        "align",
        "align_heads",
        "head_statistics",
    ),
    "inspection.planted": ("plant",),
    "inspection.probes": ("linear_probe",),
    "inspection.report": ("AttentionMap", "MapExample"),
    "points": (
        "names",
        "notes",
        "observe",
        "point",
        "within",
    ),
}
_NAMES = {name: f"attnkit.{module}:{name}" for module, names in _MODULES.items() for name in names}
_NAMES["head_scores"] = "attnkit.inspection.head_scores"
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.namespace(_NAMES, {})
