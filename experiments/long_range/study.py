"""The adding problem over its length, for attention, recurrent networks and a convolution.

    python experiments/long_range/study.py [NAME ...] [--lengths 50,200] [--seeds 0] [--steps 500]

Trains configs/long_range/adding.toml at each length, every mixer with as many steps, and reads the answer at
the last number, so that what is far away must come through the mixer. Prints a line after each run.
"""

import argparse
import tempfile
import time
from pathlib import Path

from attnkit.experiment import config
from attnkit.experiment.session import start
from attnkit.training.loop import fit

CONFIG = Path(__file__).parents[2] / "configs" / "long_range" / "adding.toml"
CONVOLUTION = '{{kind = "convolution", conv_size = 4, dilation = {}}}'
MIXERS = {
    "attention": ['model.mixer={kind="attention", mask="padding"}'],
    "gru": ["model.mixer=gru"],
    "lstm": ["model.mixer=lstm"],
    # Three layers that see 1 + 3 * (1 + 4 + 16) = 64 numbers back.
    "convolution": [
        "model.depth=3",
        f"model.mixer=[{', '.join(CONVOLUTION.format(dilation) for dilation in (1, 4, 16))}]",
    ],
}


def error(name: str, length: int, seed: int, steps: int, rate: float) -> tuple[float, float]:
    """Mean squared error on held-out sequences after training, and the CPU seconds it took."""
    words = [
        *MIXERS[name],
        "model.pool=last",
        f"task.length={length}",
        "task.lengths=[]",
        f"training.seed={seed}",
        f"training.steps={steps}",
        "training.evaluate_every=0",
        f"optimizer.learning_rate={rate}",
    ]
    session = start(config.load(CONFIG, words))
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            session.network, session.dataset, session.training, session.optimizer, folder=Path(folder)
        )
    assert fitted.evaluation is not None
    return fitted.evaluation.loss, time.process_time() - begun


def whole(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"some of: {', '.join(MIXERS)}")
    parser.add_argument("--lengths", type=whole, default=[50, 100, 200])
    parser.add_argument("--seeds", type=whole, default=[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rate", type=float, default=3e-3)
    chosen = parser.parse_args()
    names = chosen.names or list(MIXERS)
    unknown = [name for name in names if name not in MIXERS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; have {', '.join(MIXERS)}")
    print(
        "| mixer | numbers | seed | squared error (floor .167) | CPU s |\n|---|---|---|---|---|", flush=True
    )
    for length in chosen.lengths:
        for name in names:
            for seed in chosen.seeds:
                found, seconds = error(name, length, seed, chosen.steps, chosen.rate)
                print(f"| {name} | {length} | {seed} | {found:.5f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
