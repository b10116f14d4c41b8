"""How much each mixer can look up: the recall task for every kind, at equal width and depth.

    python experiments/recall/study.py [NAME ...] [--rates 1e-2,3e-3] [--widths 32] [--seeds 0]

Prints a line of the table of README.md for each mixer: its accuracy at the best of the rates, and at each.
"""

import argparse
import tempfile
import time
from pathlib import Path

from attnkit.experiment import config
from attnkit.experiment.session import start
from attnkit.training.loop import fit

CONFIG = Path(__file__).parents[2] / "configs" / "recall" / "recall.toml"
MIXERS = {
    "softmax attention": '{kind = "attention", mask = "causal"}',
    "window of 8": '{kind = "attention", mask = {kind = "window", back = 7}}',
    "window of 32": '{kind = "attention", mask = {kind = "window", back = 31}}',
    "sigmoid attention": '{kind = "attention", mask = "causal", normalizer = "sigmoid"}',
    "stick-breaking": '{kind = "attention", mask = "causal", normalizer = "stick_breaking"}',
    **{
        name: f'{{kind = "{name}", conv_size = 0}}'
        for name in (
            "linear",
            "retnet",
            "lightning",
            "simple_gla",
            "mamba2",
            "gla",
            "hgrn2",
            "rwkv6",
            "delta_net",
            "gated_delta_net",
            "kimi_delta",
            "delta_product",
            "mlstm",
            "diagonal_ssm",
            "abc",
            "gsa",
            "mesa_net",
            "ttt_linear",
            "log_linear",
        )
    },
    **{
        name: f'{{kind = "linear", feature = "{name}"}}'
        for name in ("performer", "cosformer", "random_feature")
    },
    "aft_simple": '{kind = "aft_simple", causal = true}',
    **{name: f'"{name}"' for name in ("gru", "lstm", "min_gru", "convolution")},
    "hybrid": '["gated_delta_net", {kind = "attention", mask = "causal"}]',
}


def accuracy(mixer: str, rate: float, width: int, seed: int, steps: int) -> tuple[float, float]:
    """Share of values that are right after training, and the seconds it took."""
    words = [
        f"model.mixer={mixer}",
        f"model.model_dim={width}",
        f"optimizer.learning_rate={rate}",
        f"training.seed={seed}",
        f"training.steps={steps}",
        "training.evaluate_every=0",
        "task.lengths=[]",
    ]
    session = start(config.load(CONFIG, words))
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            session.network, session.dataset, session.training, session.optimizer, folder=Path(folder)
        )
    assert fitted.evaluation is not None
    return fitted.evaluation.accuracy, time.perf_counter() - begun


def floats(text: str) -> list[float]:
    """Numbers with commas between them."""
    return [float(part) for part in text.split(",")]


def whole(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"some of: {', '.join(MIXERS)}")
    parser.add_argument("--rates", type=floats, default=[1e-2, 3e-3])
    parser.add_argument("--widths", type=whole, default=[32])
    parser.add_argument("--seeds", type=whole, default=[0])
    parser.add_argument("--steps", type=int, default=400)
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in MIXERS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; have {', '.join(MIXERS)}")
    print(f"| mixer | width | best rate | accuracy | at {', '.join(map(str, chosen.rates))} | s a run |")
    print("|---|---|---|---|---|---|")
    for name in chosen.names or MIXERS:
        for width in chosen.widths:
            found, seconds = {}, 0.0
            for rate in chosen.rates:
                runs = [accuracy(MIXERS[name], rate, width, seed, chosen.steps) for seed in chosen.seeds]
                found[rate] = sum(share for share, _ in runs) / len(runs)
                seconds += sum(spent for _, spent in runs)
            best = max(found, key=lambda rate: found[rate])
            every = ", ".join(f"{share:.3f}" for share in found.values())
            each = seconds / len(chosen.rates) / len(chosen.seeds)
            print(f"| {name} | {width} | {best:g} | {found[best]:.3f} | {every} | {each:.0f} |", flush=True)


if __name__ == "__main__":
    main()
