"""Training steps by what mixes positions, over the length, with equal tokens in every step.

    python experiments/parallel_training/study.py [NAME ...] [--lengths 64,256] [--tokens 1024] [--rounds 5]

Two decoder blocks, updated by the package's own training step (forward, backward, AdamW), on one core.
Models take turns, and the means over the turns have 95 % intervals (Student's t). A batch goes through a
step in slices of about 256 tokens, as in every run, but for what reads a token after another: there all
sequences go side by side, since a slice would be a single sequence.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit.layers.recurrence import Cell
from attnkit.layers.token_mixer.gru import Gru
from attnkit.layers.token_mixer.lstm import Lstm
from attnkit.layers.token_mixer.min_gru import MinGru
from attnkit.masks.causal import Causal
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.recurrence.variant.linear import Linear
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.studies.statistics import estimate
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.step import begin, make_dispatch, make_step, split

VOCABULARY = 64
AT_ONCE = 8
MIXERS = {
    "attention": Attention(position=(Rotary(),), mask=Causal()),
    "linear (chunked)": Linear(),
    "min_gru": MinGru(),
    "gru": Gru(),
    "lstm": Lstm(),
}


def build(mixer: Any, length: int, tokens: int, width: int) -> Callable[[], float]:
    """A function that makes some training steps and says how many CPU seconds one took."""
    batch_size = tokens // length
    options = Decoder(depth=2, heads=4, model_dim=width, mixer=mixer)
    network = options.build(Sizes(vocabulary=VOCABULARY, length=length), nnx.Rngs(0))
    training = Training(steps=10**6, batch_size=batch_size, accumulate=int(isinstance(mixer, Cell)))
    optimizer = Optimizer()
    graph, params, constants = split(network)
    state = begin(graph, params, constants, training, optimizer)
    dispatch, hyper = make_dispatch(make_step(graph, training, optimizer)), hyperparameters(optimizer)
    drawn = np.random.default_rng(0).integers(3, VOCABULARY, (AT_ONCE, batch_size, length + 1), np.int32)
    batches = {
        "inputs": drawn[..., :-1],
        "labels": drawn[..., 1:],
        "weights": np.ones((AT_ONCE, batch_size, length), np.float32),
    }

    def turn() -> float:
        nonlocal state
        begun = time.process_time()
        state, metrics, _ = dispatch(state, batches, jnp.int32(AT_ONCE), hyper)
        assert np.isfinite(metrics.loss).all()
        return (time.process_time() - begun) / AT_ONCE

    turn()
    return turn


def measure(names: list[str], length: int, tokens: int, width: int, rounds: int) -> dict[str, np.ndarray]:
    """CPU seconds of a training step by name, `[rounds]`."""
    made = {name: build(MIXERS[name], length, tokens, width) for name in names}
    turns = [{name: turn() for name, turn in made.items()} for _ in range(rounds)]
    return {name: np.array([turn[name] for turn in turns]) for name in names}


def shown(values: np.ndarray) -> str:
    """Mean and half of its 95 % interval."""
    found = estimate(values.tolist())
    return f"{found.mean:.2f} ± {found.half_width:.2f}"


def whole(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"some of: {', '.join(MIXERS)}")
    parser.add_argument("--lengths", type=whole, default=[64, 128, 256, 512, 1024])
    parser.add_argument("--tokens", type=int, default=1024, help="of every step; a multiple of each length")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    names = chosen.names or list(MIXERS)
    unknown = [name for name in names if name not in MIXERS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; have {', '.join(MIXERS)}")
    wrong = [length for length in chosen.lengths if length < 1 or chosen.tokens % length]
    if wrong:
        parser.error(f"--tokens {chosen.tokens} is no multiple of {wrong[0]}; choose other lengths")
    # Before anything runs: one thread on one core, so that CPU time is the time of a step.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print("training steps per CPU second, and in brackets how many times as fast as `gru` at the same length")
    print(f"| tokens of a sequence | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for length in chosen.lengths:
        seconds = measure(names, length, chosen.tokens, chosen.width, chosen.rounds)
        cells = [shown(1 / seconds[name]) for name in names]
        if "gru" in seconds:
            ratios = [shown(seconds["gru"] / seconds[name]) for name in names]
            cells = [f"{cell} ({ratio})" for cell, ratio in zip(cells, ratios, strict=True)]
        print(f"| {length} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
