"""A comparison as tables, and tables as CSV, Markdown and LaTeX."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterator, Sequence

import numpy as np

from attnkit.studies.comparison import Comparison, Group
from attnkit.studies.statistics import Estimate

NOTHING = "\u2013"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: what it shows.
        header: names of the columns; the first names the rows.
        rows: as many cells each.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        from attnkit.studies.page import section

        return section(self)


def shown(value: float, unit: str = "number") -> str:
    """A number as it stands in a table; fractions in percent.

    >>> shown(0.98765, "fraction"), shown(1234567.0), shown(0.000123), shown(float("nan"))
    ('98.8', '1,234,567', '0.00012', '\u2013')
    """
    if not math.isfinite(value):
        return NOTHING
    if unit == "fraction":
        return f"{100 * value:.1f}".replace("-0.0", "0.0") if abs(value) < 0.001 else f"{100 * value:.1f}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.4g}"


def with_interval(found: Estimate, unit: str) -> str:
    """A mean with half its interval: fractions in percent, others to two digits of the half.

    >>> with_interval(Estimate(0.5, 0.4, 0.6, 3), "fraction")
    '50.0 ± 10.0'
    >>> with_interval(Estimate(0.00526, -0.008, 0.01852, 3), "nats")
    '0.005 ± 0.013'
    """
    half = found.half_width
    if not math.isfinite(half):
        return shown(found.mean, unit)
    if unit == "fraction" or not 1e-6 < half < 1e3:
        return f"{shown(found.mean, unit)} ± {shown(half, unit)}"
    places = max(0, 1 - math.floor(math.log10(half)))
    return f"{found.mean:.{places}f} ± {half:.{places}f}"


def main(comparison: Comparison) -> Table:
    """Rows by columns: the metric with its interval."""
    columns = comparison.columns
    rows = []
    for row in comparison.rows:
        groups = [comparison.group(row, column) for column in columns]
        cells = (with_interval(g.value, g.unit) if g else NOTHING for g in groups)
        rows.append((row, *cells))
    heads = tuple(headed(comparison, column) for column in columns)
    return Table("Comparison", (", ".join(comparison.plan.rows) or "variant", *heads), tuple(rows))


def headed(comparison: Comparison, column: str) -> str:
    """The name of a column with what its numbers are."""
    group = next(group for group in comparison.groups if group.column == column)
    unit = "%" if group.unit == "fraction" else group.unit if group.unit != "number" else ""
    metric = f"{group.metric.replace('_', ' ')}{f' ({unit})' if unit else ''}"
    return f"{column}: {metric}" if column else metric


def details(comparison: Comparison) -> Table:
    """A line for every group: its interval, seeds and success."""
    threshold = comparison.plan.threshold
    late = ("reached", "steps to it", "tokens to it", "seconds to it") if threshold is not None else ()
    tuned = comparison.plan.tune
    header = ("variant", "column", *tuned, "seeds", "mean", "95 % interval", *late)
    rows = []
    for group in comparison.groups:
        value, unit = group.value, group.unit
        interval = f"{shown(value.low, unit)} to {shown(value.high, unit)}" if value.runs > 1 else NOTHING
        labels = [f"{group.runs[0].labels.get(name, NOTHING)} (of {group.tried})" for name in tuned]
        cells = [group.row, group.column or "all", *labels, str(len(group.runs)), shown(value.mean, unit)]
        rows.append((*cells, interval, *(threshold_cells(group, threshold) if late else ())))
    title = "Details" if threshold is None else f"Details, threshold {threshold:g}"
    return Table(title, header, tuple(rows))


def sizes(comparison: Comparison) -> Table:
    """A line for every group: its size and its speed."""
    names = ("parameters", "state_bytes", "flops_per_token", "training_seconds")
    rows = (
        (g.row, g.column or "all", *(shown(g.mean_of(name)) for name in names), shown(g.tokens_per_second))
        for g in comparison.groups
    )
    header = ("variant", "column", "parameters", "state, bytes", "FLOPs/token", "training, s", "tokens/s")
    return Table("Size and speed", header, tuple(rows))


def threshold_cells(group: Group, threshold: float | None) -> tuple[str, ...]:
    """Success at a threshold, and the mean steps, tokens and seconds to it of the runs that reach it."""
    assert threshold is not None
    rate, reached = group.success(threshold), group.reached(threshold)
    success = f"{rate.successes} of {rate.runs}"
    if not reached:
        return success, NOTHING, NOTHING, NOTHING
    several = f" ({len(reached)})" if len(reached) < len(group.runs) else ""
    means = (
        np.mean([step for _, step in reached]),
        np.mean([step * run.tokens_per_step for run, step in reached]),
        np.mean([step * run.seconds_per_step for run, step in reached]),
    )
    return success, *(shown(float(mean)) + several for mean in means)


def paired_tests(comparison: Comparison) -> Table:
    """Every row against the baseline: difference, interval, p values, number of pairs."""
    rows = []
    for test in comparison.tests:
        group = comparison.group(test.row, test.column)
        assert group is not None
        gap = test.paired.difference
        rows.append(
            (
                f"{test.row} - {test.baseline}",
                test.column or "all",
                with_interval(gap, group.unit),
                probability(test.paired.t_value),
                probability(test.corrected),
                probability(test.paired.rank_value),
                str(gap.runs),
            )
        )
    header = ("difference", "column", "mean", "p (paired t)", "p (Holm)", "p (Wilcoxon)", "pairs")
    return Table("Paired by seed", header, tuple(rows))


def probability(value: float) -> str:
    """A p value."""
    return NOTHING if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def every_table(comparison: Comparison) -> Iterator[Table]:
    """All tables that have rows."""
    for make in (main, details, paired_tests, sizes):
        table = make(comparison)
        if table.rows:
            yield table


def as_csv(comparison: Comparison) -> str:
    """A line for every run and split with all metrics as plain numbers, which nothing has rounded."""
    names: dict[str, None] = {}
    rows = []
    for group in comparison.groups:
        for run in group.runs:
            for split, metrics in run.result["splits"].items():
                about = {"variant": group.row, "column": group.column, "run": run.name, **run.labels}
                sized = {
                    name: run.result.get(name) for name in ("parameters", "state_bytes", "flops_per_token")
                }
                rows.append({**about, "seed": run.seed, "split": split, **metrics, **sized})
                names |= dict.fromkeys(rows[-1])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """Tables as Markdown."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    parts = []
    for table in tables:
        rule = f"|---|{'---:|' * (len(table.header) - 1)}"
        parts.append("\n".join([f"**{table.title}**", "", line(table.header), rule, *map(line, table.rows)]))
    return "\n\n".join([*parts, "\n".join(notes)]).strip() + "\n"


def as_latex(table: Table, notes: Sequence[str] = ()) -> str:
    r"""A table as LaTeX, in the style of the package booktabs.

    >>> print(as_latex(Table("t", ("a_b", "x"), (("50 %", "1 ± 2"),))), end="")
    % needs \usepackage{booktabs}
    \begin{tabular}{lr}
    \toprule
    a\_b & x \\
    \midrule
    50 \% & $1 \pm 2$ \\
    \bottomrule
    \end{tabular}
    """

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(latex, cells)) + r" \\"

    body = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"\toprule",
        line(table.header),
        r"\midrule",
        *map(line, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(f"% {note}" for note in notes),
    ]
    return "\n".join(body) + "\n"


SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", NOTHING: "--"}
SPECIAL |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def latex(text: str) -> str:
    """Text with everything escaped that means something to LaTeX."""
    number, sign, half = text.partition(" ± ")
    if sign:
        return f"${number} \\pm {half}$".replace(",", "{,}")
    return "".join(SPECIAL.get(letter, letter) for letter in text)
