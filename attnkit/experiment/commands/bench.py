"""`bench`: what variants cost over the length, or a config to train; how far approximations are off."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from attnkit import files
from attnkit.experiment.commands.check import BASES


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "bench",
        help="time, operations and memory of variants over the length",
        description="Measure every form of variants beside jax.nn.dot_product_attention and softmax "
        "attention, taking turns; or whole training steps of a config.",
        epilog="example: attnkit bench attention gla --lengths 512 1024 2048 --png cost.png; "
        "attnkit bench configs/recall/recall.toml model.depth=1",
    )
    command.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="kinds or path/to/file.py:Class; or one CONFIG.toml with dotted.key=value",
    )
    command.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024, 2048], metavar="N")
    command.add_argument("--heads", type=int, default=8, help="number of heads (default: 8)")
    command.add_argument("--dim", type=int, default=64, help="width of a query, key and value (default: 64)")
    command.add_argument("--rounds", type=int, default=5, help="turns of each computation (default: 5)")
    command.add_argument("--gradient", action="store_true", help="forward and backward, not forward alone")
    command.add_argument(
        "--error", action="store_true", help="how far approximations are from the exact form"
    )
    command.add_argument(
        "--budgets", type=int, nargs="+", default=[], metavar="N", help="with --error: what they may spend"
    )
    command.add_argument("--png", type=Path, metavar="FILE", help="draw the times into a picture")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=bench)


def bench(arguments: argparse.Namespace) -> int:
    """Measure and show."""
    from attnkit.errors import ConfigError
    from attnkit.experiment import resolve

    for name in ("heads", "dim", "rounds"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name} {getattr(arguments, name)}: expected at least 1")
    if min(arguments.lengths) < 1:
        raise ConfigError(f"--lengths {min(arguments.lengths)}: expected at least 1")
    if arguments.png and (arguments.png.suffix != ".png" or not arguments.png.parent.is_dir()):
        raise ConfigError(
            f"--png {arguments.png}: expected a name that ends in .png, in a folder that exists"
        )
    if arguments.names[0].endswith(".toml"):
        return training(arguments)
    things = {name: resolve.made(name, [], BASES) for name in dict.fromkeys(arguments.names)}
    if arguments.error:
        return errors(things, arguments)
    from attnkit.experiment.bench import bench as measured
    from attnkit.experiment.bench_cases import Setting

    setting = Setting(arguments.heads, arguments.dim, arguments.gradient, arguments.rounds)
    found = measured(things, sorted(arguments.lengths), setting, tell)
    rows = [dataclasses.asdict(cost) for cost in found]
    if arguments.json:
        print(json.dumps({"setting": dataclasses.asdict(setting), "costs": rows}, indent=2))
    else:
        what = "forward and backward" if arguments.gradient else "forward"
        show(f"{what}, {arguments.heads} heads of width {arguments.dim}, float32", rows)
    if arguments.png:
        draw(rows, arguments.png)
    return 0


def training(arguments: argparse.Namespace) -> int:
    """Measure and show whole training steps."""
    from attnkit.errors import ConfigError
    from attnkit.experiment import config

    if arguments.error or arguments.png:
        option = "--error" if arguments.error else "--png"
        raise ConfigError(f"{option}: is for variants; leave it out to measure {arguments.names[0]}")
    loaded = config.load(Path(arguments.names[0]), arguments.names[1:])
    from attnkit.experiment.bench_training import bench_training

    found = dataclasses.asdict(bench_training(loaded, arguments.rounds, tell))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        width = max(map(len, found))
        for name, value in found.items():
            print(f"{name.replace('_', ' '):{width}}  {written(value)}")
    return 0


def tell(line: str) -> None:
    """Progress on a terminal's standard error."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def errors(things: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Show how far approximations are from what they approximate."""
    from attnkit.approximate.contract import Approximate
    from attnkit.conformance import approximation
    from attnkit.errors import ConfigError
    from attnkit.recurrence.feature_map import FeatureMap
    from attnkit.recurrence.variant.linear import Linear

    rows: list[dict[str, Any]] = []
    for name, thing in things.items():
        if isinstance(thing, FeatureMap):
            thing = Linear(feature=thing, direction="both")
        if not isinstance(thing, Approximate | Linear):
            raise ConfigError(f"{name}: --error wants approximations of attention")
        try:
            found = approximation.error(thing, arguments.budgets)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
        rows += [{"name": name, **dataclasses.asdict(row)} for row in found]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        show("relative error of approximations", rows)
    return 0


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """A table with a column for each key."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*map(written, row.values()))
    Console().print(table)


def written(value: Any) -> str:
    """A cell: three digits of a number, mean and deviation of two, a dash for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return f"{value[0]:.3g} +- {value[1]:.1g}"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return str(value)


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Times and memory over the length, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for place, key, label in zip(
        places, ("least", "mebibytes"), ("least time, ms", "temporary memory, MiB"), strict=True
    ):
        styles = {"reference": "--", "matrix": "--", "scan": ":"}
        # The form by blocks is dense where all fits in one.
        for name, form in dict.fromkeys((row["name"], one_line(row["form"])) for row in rows):
            line = [row for row in rows if row["name"] == name and one_line(row["form"]) == form]
            place.plot(
                [row["length"] for row in line],
                [max(row[key], 1e-3) for row in line],
                styles.get(form, "-"),
                marker=".",
                label=f"{name}, {form}",
            )
        place.set(xlabel="length", ylabel=label)
        logarithmic(place, sorted({row["length"] for row in rows}))
    places[0].legend(fontsize="small")
    with files.replacing(file) as out:
        figure.savefig(out, dpi=120, format="png")
    pyplot.close(figure)


def logarithmic(place: Any, lengths: list[int]) -> None:
    """Make both axes of a plot logarithmic, with ticks that are plain numbers, those below at `lengths`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    place.set(xscale="log", yscale="log")
    place.set_xticks(lengths, [f"{length:,}" for length in lengths])
    place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    place.xaxis.set_minor_locator(NullLocator())
    place.yaxis.set_minor_locator(NullLocator())


def one_line(form: str) -> str:
    """The line in a picture that a form belongs to."""
    return "blockwise" if form == "dense" else form
