"""Errors of approximations against exact softmax attention, as a function of their budget.

    python benchmarks/approximation.py [NAME ...] [--budgets 16 64 256] [--png approximation.png]

Random inputs: entries of queries and keys are normal with standard deviation `--scale`. Relative Frobenius
errors of the matrix and of the output, mean and standard deviation over seeds.
"""

import argparse

from rich.console import Console
from rich.table import Table

from attnkit.approximate.variant.h_transformer_1d import HTransformer1d
from attnkit.approximate.variant.linformer import Linformer
from attnkit.approximate.variant.nystromformer import Nystromformer
from attnkit.approximate.variant.skyformer import Skyformer
from attnkit.conformance.approximation import Inputs, error, slope
from attnkit.recurrence.feature.performer import Performer
from attnkit.recurrence.feature.random_feature import RandomFeature
from attnkit.recurrence.variant.linear import Linear


def whole(feature):
    return Linear(feature=feature, direction="both")


VARIANTS = {
    "performer": whole(Performer()),
    "performer, independent": whole(Performer(orthogonal=False)),
    "performer, hyperbolic": whole(Performer(kind="hyperbolic")),
    "performer, trigonometric": whole(Performer(kind="trigonometric")),
    "random_feature": whole(RandomFeature()),
    "nystromformer": Nystromformer(convolution=0),
    "skyformer": Skyformer(),
    "linformer": Linformer(),
    "h_transformer_1d": HTransformer1d(),
}


def draw(found, path):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, rows in found.items():
        axes.errorbar(
            [row.value for row in rows],
            [row.matrix[0] for row in rows],
            [row.matrix[1] for row in rows],
            label=name,
            capsize=2,
        )
    axes.set(xscale="log", yscale="log", xlabel="budget", ylabel="relative error of the matrix")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(VARIANTS))
    parser.add_argument("--budgets", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--png")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(VARIANTS))
    if unknown:
        parser.error(f"no such variant: {', '.join(unknown)}; have: {', '.join(VARIANTS)}")
    inputs = Inputs(asked.tokens, asked.dim, asked.scale)
    found = {name: error(VARIANTS[name], asked.budgets, range(asked.seeds), inputs) for name in asked.names}
    table = Table(title=f"{inputs}, {asked.seeds} seeds")
    for column in ("", "budget", "matrix", "output", "own aim", "slope"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, rows in found.items():
        law = f"{slope(rows, 'target'):.2f}" if len(rows) > 1 else ""
        for n, row in enumerate(rows):
            numbers = (f"{mean:.3f} ±{spread:.2f}" for mean, spread in (row.matrix, row.output, row.target))
            table.add_row(name if n == 0 else "", str(row.value), *numbers, law if n == 0 else "")
        table.add_section()
    Console().print(table)
    if asked.png:
        draw(found, asked.png)


if __name__ == "__main__":
    main()
