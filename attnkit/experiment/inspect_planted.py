"""Whether the methods of `attnkit.inspection` find the circuits of networks that are set by hand."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnkit.inspection import head_scores
from attnkit.inspection.circuits import find_circuit
from attnkit.inspection.interventions import ablate
from attnkit.inspection.maps import Head
from attnkit.inspection.planted import CIRCUITS, Mixer, Planted, plant
from attnkit.points import observe

#: A head has a kind if its score is at least this.
KIND = 0.85
DECOY = 0.15
#: A head or edge matters if so many answers are lost without it.
LOST = 0.5


def check(
    names: Sequence[str] = tuple(CIRCUITS), mixers: Sequence[Mixer] = ("softmax", "linear")
) -> list[dict[str, Any]]:
    """For each planted network, what was found, and whether it is exactly what was planted."""
    return [found(plant(name, mixer)) for mixer in mixers for name in names]


def found(planted: Planted) -> dict[str, Any]:
    """Accuracy, heads by ablation, kinds of heads by scores, and edges by path patching."""
    f, metric, tokens = planted.model(), planted.metric(), jnp.asarray(planted.tokens)
    lost = {head: 1 - float(np.mean(after)) for head, after in ablate(f, metric, tokens).items()}
    by_ablation = {head for head, share in lost.items() if share >= LOST}
    kinds, decoys = kinds_of(planted)
    circuit = find_circuit(f, metric, tokens, jnp.asarray(planted.other), threshold=LOST)
    accuracy = float(jnp.mean(metric(f(tokens))))
    right = (
        accuracy == 1
        and by_ablation == planted.heads == set(circuit.heads)
        and kinds == dict(planted.kinds)
        and decoys < DECOY
        and set(circuit.edges) == planted.edges
    )
    return {
        "circuit": planted.name,
        "mixer": planted.mixer,
        "accuracy": accuracy,
        "heads": sorted(map(str, by_ablation)),
        "kinds": {str(head): kind for head, kind in kinds.items()},
        "largest_decoy": decoys,
        "edges": sorted(map(str, circuit.edges)),
        "found": right,
    }


def kinds_of(planted: Planted) -> tuple[dict[Head, str], float]:
    """Heads whose scores name them, and the largest score of a head that is not in the circuit."""
    maps = observe(planted.model(), read=["*.weights"])(jnp.asarray(planted.tokens)).values
    kinds: dict[Head, str] = {}
    decoys = 0.0
    for name, weights in maps.items():
        scores = {
            "previous_token": head_scores.previous_token(weights),
            "duplicate_token": head_scores.duplicate_token(weights, planted.tokens),
            "prefix_matching": head_scores.prefix_matching(weights, planted.tokens),
        }
        for kind, each in scores.items():
            for n, score in enumerate(np.nan_to_num(each)):
                head = Head(name.removesuffix(".weights"), n)
                if score >= KIND:
                    kinds[head] = kind
                if head not in planted.heads:
                    decoys = max(decoys, float(score))
    return kinds, decoys


def lines(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The findings for the terminal."""
    for one in results:
        verdict = "found" if one["found"] else "NOT FOUND"
        yield (
            f"{one['circuit']}, {one['mixer']}: {verdict}; heads {', '.join(one['heads'])}; "
            f"edges {', '.join(one['edges'])}; largest score of another head {one['largest_decoy']:.3f}"
        )
