"""A sweep's folder as rows, for a notebook."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

    from attnkit.studies.comparison import Run


@dataclasses.dataclass(frozen=True, repr=False)
class Sweep:
    """The finished cells of a sweep.

    Attributes:
        path: its folder.
        runs: the finished cells, with labels, seed, result and recorded metrics.
        unfinished: hashes of the others.
    """

    path: Path
    runs: tuple["Run", ...]
    unfinished: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row for every run: labels, seed, sizes, and metrics as `split.metric`."""
        return [dict(_row(run)) for run in self.runs]

    def history(self) -> list[dict[str, Any]]:
        """A row for every recorded step and evaluation of every run."""
        return [{"run": r.name, **r.labels, "seed": r.seed, **line} for r in self.runs for line in r.history]

    def frame(self) -> "pandas.DataFrame":
        """`rows` as a data frame; needs pandas."""
        return _pandas().DataFrame(self.rows())

    def history_frame(self) -> "pandas.DataFrame":
        """`history` as a data frame; needs pandas."""
        return _pandas().DataFrame(self.history())

    def _repr_html_(self) -> str:
        from attnkit.api.notebook import table

        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        return table(names, [[row.get(name, "") for name in names] for row in rows])

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, {len(self.runs)} finished runs, {len(self.unfinished)} others)"


def load_sweep(path: str | Path) -> Sweep:
    """The finished cells of a sweep's folder; `load_run(path / name)` opens one of them.

    Raises:
        ConfigError: if `path` is not a sweep's folder, or none of its cells is finished.

    >>> import attnkit as ak
    >>> ak.load_sweep("no/such/sweep")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    attnkit.errors.ConfigError: no/such/sweep: not a sweep's folder (no sweep.json in it); ...
    """
    from attnkit.experiment.runs import read_sweep

    found = read_sweep(Path(path))
    return Sweep(Path(path), found.runs, found.unfinished)


def _row(run: "Run") -> Iterator[tuple[str, Any]]:
    yield from (("run", run.name), *run.labels.items(), ("seed", run.seed))
    for split, metrics in run.result["splits"].items():
        yield from ((f"{split}.{metric}", value) for metric, value in metrics.items())
    for name, value in run.result.items():
        if name not in ("seed", "name") and isinstance(value, int | float | None):
            yield name, value


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a data frame needs pandas: pip install 'attnkit[frames]'; without it, take rows()"
        ) from None
    return pandas
