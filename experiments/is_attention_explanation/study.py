"""Is attention explanation? How often weights, gradients and ablation find the tokens that decide an answer.

    python experiments/is_attention_explanation/study.py [MIXER ...] [--steps 400] [--seeds 3]
        [--convolution 3] [--write FILE]

Six tasks whose evidence is known, six mixers. All networks of a mixer (tasks times seeds) are trained as one
program and explained by another, which then explains the same networks before training. An explanation is
one number for each token before the one that is answered at; it finds the evidence if its largest number is
of a token that decides the answer. The best head is chosen on other examples than it is scored on.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from attnkit.inspection.attribution import attention_relevance, input_gradient, integrated_gradients, rollout
from attnkit.inspection.faithfulness import found
from attnkit.inspection.head_scores import shares, value_weighted
from attnkit.inspection.interventions import interval
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.points import observe
from attnkit.recurrence.variant.gated_delta_net import GatedDeltaNet
from attnkit.recurrence.variant.linear import Linear
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.tasks.contract import Task
from attnkit.tasks.dyck import Dyck
from attnkit.tasks.flip_flop import FlipFlop
from attnkit.tasks.generated import Generated
from attnkit.tasks.induction import Induction
from attnkit.tasks.needle import Needle
from attnkit.tasks.recall import Recall
from attnkit.tasks.selective_copy import SelectiveCopy
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.step import begin, for_members, make_dispatch, make_step, split

HELD = 96
TASKS: dict[str, Task] = {
    "recall": Recall(vocabulary=16, pairs=4, length=24, queries="dense", lengths=(), held_out=HELD),
    "induction": Induction(symbols=6, length=24, lengths=(), held_out=HELD),
    "needle": Needle(chains=3, variables=6, values=6, fillers=6, length=24, lengths=(), held_out=HELD),
    "flip-flop": FlipFlop(length=24, held_out=HELD),
    "Dyck": Dyck(depth=4, length=24, lengths=(), held_out=HELD),
    "selective copy": SelectiveCopy(letters=8, copied=4, length=24, lengths=(), held_out=HELD),
}
MIXERS: dict[str, Any] = {
    "softmax": Attention(position=(Rotary(),), mask=Causal()),
    "ALiBi": Attention(position=(Alibi(),), mask=Causal()),
    "sparsemax": Attention(position=(Rotary(),), mask=Causal(), normalizer=Sparsemax()),
    "window of 8": Attention(position=(Rotary(),), mask=Causal() & Window(back=7)),
    "gated delta rule": GatedDeltaNet(conv_size=0),
    "linear": Linear(),
}
METHODS = (
    "weights, last layer",
    "weights, best head",
    "value-weighted norms",
    "rollout",
    "attention x gradient",
    "input gradient",
    "integrated gradients",
    "ablation",
)
DEPTH, WIDTH, CHOOSING, LEARNED = 2, 25, 32, 0.9
PATHS = [f"decoder.{n}.self" for n in range(DEPTH)]
EMBEDDING = "decoder.embedding"


def wide(array: np.ndarray) -> np.ndarray:
    """Rows of a batch, all as long."""
    return np.pad(array, ((0, 0), (0, WIDTH - array.shape[1])))


def questions(data: Generated) -> dict[str, np.ndarray]:
    """Held-out texts, the places that are answered at, the answers, and the tokens that decide them."""
    examples = data.examples("valid", HELD)
    return {
        "inputs": wide(data.held_out["valid"]["inputs"]),
        "place": np.array([len(one.inputs) - 1 for one in examples]),
        "answer": np.array([one.labels[0] for one in examples]),
        "evidence": np.stack([wide(one.evidence)[0] for one in examples if one.evidence is not None]),
    }


def train(
    graph: Any, starts: list[tuple[Any, Any]], batches: dict[str, np.ndarray], steps: int, chunk: int = 20
) -> Any:
    """The parameters of all networks, stacked, after training; `batches` are `[steps, networks, ...]`."""
    training, optimizer = Training(steps=steps, accumulate=1), Optimizer(learning_rate=5e-3, warmup=20)
    states = [begin(graph, params, constants, training, optimizer) for params, constants in starts]
    state = stacked(states)
    hyper = stacked([hyperparameters(optimizer)] * len(starts))
    dispatch = make_dispatch(for_members(make_step(graph, training, optimizer), len(starts)))
    for first in range(0, steps, chunk):
        some = {name: array[first : first + chunk] for name, array in batches.items()}
        state, _, _ = dispatch(state, some, jnp.int32(chunk), hyper)
    return state.params


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of arrays as one, with an axis in front."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)


def explainer(graph: Any, constants: Any) -> Callable[..., dict[str, Array]]:
    """All that is computed of one network: `(parameters, questions) -> arrays`."""

    def explain(params: Any, asked: dict[str, Array]) -> dict[str, Array]:
        rows = jnp.arange(len(asked["place"]))

        def model(tokens: Array) -> Array:
            logits: Array = nnx.merge(graph, params, constants)({"inputs": tokens}).logits
            return logits

        def metric(logits: Array) -> Array:
            return jax.nn.log_softmax(logits[rows, asked["place"]])[rows, asked["answer"]]

        tokens = asked["inputs"]
        views = [f"{path}.{name}" for path in PATHS for name in ("weights", "values")]
        seen = observe(model, read=[*views, EMBEDDING])(tokens)
        mean = seen.values[EMBEDDING].mean((0, 1))

        def without(place: Array) -> Array:
            edit = {EMBEDDING: lambda z: z.at[:, place].set(mean)}
            return metric(observe(model, edit=edit)(tokens).output)

        lost = metric(seen.output) - jax.lax.map(without, jnp.arange(WIDTH))
        integrated = integrated_gradients(model, metric, EMBEDDING, tokens, baseline=mean, steps=16)
        return {
            "right": seen.output[rows, asked["place"]].argmax(-1) == asked["answer"],
            "weights": jnp.stack([seen.values[f"{path}.weights"] for path in PATHS]),
            "values": jnp.stack([seen.values[f"{path}.values"] for path in PATHS]),
            "attention x gradient": attention_relevance(model, metric, PATHS, tokens)[rows, asked["place"]],
            "input gradient": input_gradient(model, metric, EMBEDDING, tokens),
            "integrated gradients": integrated.attribution,
            "completeness": integrated.error,
            "ablation": lost.T,
        }

    return explain


def behind(evidence: np.ndarray) -> np.ndarray:
    """The evidence and the two tokens behind it, which a convolution of three tokens tells of it."""
    one, two = (np.pad(evidence, ((0, 0), (n, 0)))[:, :WIDTH] for n in (1, 2))
    return evidence | one | two


def rankings(
    seen: dict[str, np.ndarray], asked: dict[str, np.ndarray], evidence: np.ndarray
) -> dict[str, np.ndarray]:
    """By method, the importance of every token before the answer, `[examples, tokens]`, none negative.

    `evidence` chooses the best head.
    """
    rows, place = np.arange(HELD), asked["place"]
    weights = shares(seen["weights"])
    norms = np.stack([value_weighted(w, v) for w, v in zip(weights, seen["values"], strict=True)])
    heads = weights.transpose(0, 2, 1, 3, 4).reshape(-1, HELD, WIDTH, WIDTH)[:, rows, place]
    choosing = [found(before(one, place)[:CHOOSING], evidence[:CHOOSING]) for one in heads]
    made = {
        "weights, last layer": weights[-1].mean(1)[rows, place],
        "weights, best head": heads[int(np.argmax(choosing))],
        "value-weighted norms": norms[-1].sum(1)[rows, place],
        "rollout": rollout(weights)[rows, place],
        **{name: np.abs(seen[name]) for name in METHODS if name in seen},
    }
    return {name: before(made[name], place)[CHOOSING:] for name in METHODS}


def before(importance: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The importance without that of the token that is answered at, and later ones."""
    return np.where(np.arange(WIDTH) < place[:, None], importance, -1e-30)


def score(seen: dict[str, np.ndarray], asked: dict[str, np.ndarray]) -> dict[str, Any]:
    """How often each method finds the evidence of a network's answers, and its share of weight there."""
    evidence, place = asked["evidence"][CHOOSING:], asked["place"][CHOOSING:]
    told: dict[str, Any] = {"accuracy": float(seen["right"].mean())}
    for name, values in rankings(seen, asked, asked["evidence"]).items():
        sizes = np.maximum(values, 0)
        mass = (sizes * evidence).sum(1) / np.maximum(sizes.sum(1), 1e-30)
        told[name] = (found(values, evidence), float(mass.mean()))
    near = behind(asked["evidence"])[CHOOSING:] & (np.arange(WIDTH) < place[:, None])
    told["best head, or 2 behind"] = (
        found(rankings(seen, asked, behind(asked["evidence"]))["weights, best head"], near),
        float((near.sum(1) / place).mean()),
    )
    told["uniform"] = (float((evidence.sum(1) / place).mean()),) * 2
    told["completeness"] = float(np.median(seen["completeness"]))
    return told


def run(
    mixer: Any, data: dict[str, Generated], steps: int, seeds: int, convolution: int
) -> list[dict[str, Any]]:
    """The scores of all networks of a mixer, trained and not."""
    config = Decoder(
        depth=DEPTH, heads=2, model_dim=32, mlp_ratio=2, short_convolution=convolution, mixer=mixer
    )
    sizes = Sizes(vocabulary=max(len(one.vocabulary) for one in data.values()), length=WIDTH)
    cells = [(name, seed) for name in data for seed in range(seeds)]
    networks = [split(config.build(sizes, nnx.Rngs(seed))) for _, seed in cells]
    graph, _, constants = networks[0]
    batches: dict[str, list[np.ndarray]] = {"inputs": [], "labels": [], "weights": []}
    for name, seed in cells:
        drawn = data[name].batch(seed, 0, steps * 16)
        for part, arrays in batches.items():
            arrays.append(wide(drawn[part]).reshape(steps, 16, WIDTH))
    untrained = stacked([network[1] for network in networks])
    trained = train(
        graph, [n[1:] for n in networks], {part: np.stack(a, 1) for part, a in batches.items()}, steps
    )
    asked = [questions(data[name]) for name, _ in cells]
    explain = explainer(graph, constants)
    explain_all = jax.jit(lambda params, asked: jax.lax.map(lambda one: explain(*one), (params, asked)))
    records = []
    for kind, params in (("trained", trained), ("untrained", untrained)):
        seen = jax.tree.map(np.asarray, explain_all(params, stacked(asked)))
        for n, (name, seed) in enumerate(cells):
            one = {part: array[n] for part, array in seen.items()}
            records.append({"task": name, "seed": seed, "kind": kind, **score(one, asked[n])})
    return records


def cell(records: Sequence[dict[str, Any]], method: str, part: int = 0) -> str:
    """The mean of a method over networks in percent, and its 95 % bootstrap interval."""
    values = [one[method][part] for one in records]
    if not values:
        return ""
    between = interval(values)
    return f"{100 * np.mean(values):.0f}" + (
        f" ({100 * between[0]:.0f}-{100 * between[1]:.0f})" if between else ""
    )


def table(records: Sequence[dict[str, Any]], by: str, part: int = 0) -> list[str]:
    """Rows are methods, columns the values of `by`, over trained networks that learned their task."""
    learned = [one for one in records if one["kind"] == "trained" and one["accuracy"] >= LEARNED]
    control = [one for one in records if one["kind"] == "untrained"]
    names = list(dict.fromkeys(one[by] for one in records))
    count = {name: sum(one[by] == name for one in learned) for name in names}
    lines = [
        "| method | " + " | ".join(f"{name}, {count[name]}" for name in names) + " | all | untrained |",
        "|---" * (len(names) + 3) + "|",
    ]
    for method in (*METHODS, "uniform"):
        cells = [cell([one for one in learned if one[by] == name], method, part) for name in names]
        cells += [cell(learned, method, part), cell(control, method, part)]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("mixers", metavar="MIXER", nargs="*", help=f"some of: {', '.join(MIXERS)}")
    parser.add_argument("--steps", type=int, default=400, help="of training, a multiple of 20")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--convolution", type=int, default=3, help="tokens of the one before every mixer")
    parser.add_argument("--write", type=Path, help="a JSON file with the numbers of every network")
    chosen = parser.parse_args()
    data = {name: loaded for name, task in TASKS.items() if isinstance(loaded := task.load(), Generated)}
    records: list[dict[str, Any]] = []
    for name in chosen.mixers or MIXERS:
        begun = time.process_time()
        told = run(MIXERS[name], data, chosen.steps, chosen.seeds, chosen.convolution)
        new = [{"mixer": name, **one} for one in told]
        records += new
        accuracy = {
            task: [round(r["accuracy"], 2) for r in new if r["task"] == task and r["kind"] == "trained"]
            for task in TASKS
        }
        near = [r["best head, or 2 behind"] for r in new if r["kind"] == "trained"]
        share, even = np.mean(near, axis=0)
        print(f"best head at the evidence or up to 2 tokens behind: {share:.2f} (uniform {even:.2f})")
        print(f"{name}: {time.process_time() - begun:.0f} CPU s; right answers {accuracy}", flush=True)
        if chosen.write:
            chosen.write.write_text(json.dumps(records))
    for part, measure in enumerate(("Top-1", "Mass")):
        for by in ("task", "mixer"):
            print(f"\n{measure} by {by}:", *table(records, by, part), sep="\n")


if __name__ == "__main__":
    main()
