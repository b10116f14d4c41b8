"""Results of a check: a table of properties by forms."""

import builtins
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        rule: name of the property, a row of the matrix.
        form: name of the form, a column of the matrix.
        error: what was measured; NaN counts as a failure.
        limit: the largest error that passes.
        where: mask class, array and block shape, for the reader.
    """

    rule: str
    form: str
    error: float
    limit: float
    where: str = ""

    @builtins.property
    def holds(self) -> bool:
        """Whether the error is within the limit."""
        return self.error <= self.limit

    @builtins.property
    def share(self) -> float:
        """The error as a share of the limit, for finding the worst of several; infinite if it cannot pass."""
        if self.error == 0:
            return 0.0
        return self.error / self.limit if self.limit and not math.isnan(self.error) else math.inf


@dataclasses.dataclass(frozen=True)
class Unclaimed:
    """A cell without a test, and why.

    Attributes:
        rule: a row of the matrix.
        form: a column of the matrix.
        reason: why nothing is claimed.
    """

    rule: str
    form: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Warned:
    """Something that is allowed and probably a mistake.

    Attributes:
        text: what was seen.
    """

    text: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One form and one property: the worst finding, or the reason why there is none.

    Attributes:
        worst: the finding nearest to its limit, or farthest beyond it.
        count: how many comparisons were made.
        reason: why nothing is claimed, if there is no finding.
    """

    worst: Finding | None
    count: int
    reason: str = ""

    @builtins.property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.worst is None or self.worst.holds

    def __str__(self) -> str:
        if self.worst is None:
            return "not claimed"
        return f"{'pass' if self.ok else 'FAIL'} {self.worst.error:.0e}"


@dataclasses.dataclass(frozen=True)
class Matrix:
    """The result of a check: which property holds in which form, with the worst number.

    Attributes:
        name: what was checked.
        rows: properties, in the order of the checks.
        columns: forms.
        cells: what was found, by (property, form).
        errors: exceptions, one line each, with the place in the variant and the checks that raised them.
        warnings: what is allowed and probably a mistake.
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @builtins.property
    def ok(self) -> bool:
        """Whether every cell passes or is not claimed, and no check raised an exception."""
        return not self.errors and all(cell.ok for cell in self.cells.values())

    def failures(self) -> list[str]:
        """One line for each failing cell: property, form, error, limit and where it was seen."""
        worst = [cell.worst for cell in self.cells.values() if cell.worst and not cell.ok]
        return [f"{f.rule}, {f.form}: {f.error:.2e} > {f.limit:.0e} ({f.where})" for f in worst]

    def failed(self) -> set[str]:
        """Names of the properties that fail in some form."""
        return {property for (property, _), cell in self.cells.items() if not cell.ok}

    def reasons(self) -> list[str]:
        """One line for each group of cells about which nothing is claimed."""
        grouped: dict[tuple[str, str], list[str]] = {}
        for (property, form), cell in self.cells.items():
            if cell.worst is None:
                grouped.setdefault((property, cell.reason), []).append(form)
        return [f"{property}, {', '.join(forms)}: {why}" for (property, why), forms in grouped.items()]

    def facts(self) -> dict[str, Any]:
        """The matrix for programs: every cell with its worst number, JSON-ready (infinities as text)."""
        cells = []
        for (rule, form), cell in self.cells.items():
            facts: dict[str, Any] = {"property": rule, "form": form, "ok": bool(cell.ok)}
            facts["comparisons"] = cell.count
            if cell.worst is None:
                facts["reason"] = cell.reason
            else:
                worst = cell.worst
                error = float(worst.error) if math.isfinite(worst.error) else str(worst.error)
                facts |= {"error": error, "limit": float(worst.limit), "where": worst.where}
            cells.append(facts)
        notes = {"errors": list(self.errors), "warnings": list(self.warnings)}
        return {"name": self.name, "ok": bool(self.ok), **notes, "cells": cells}

    def notes(self) -> list[str]:
        """Errors, failures, warnings and reasons, one line each."""
        notes = [f"ERROR  {line}" for line in self.errors]
        notes += [f"FAIL  {line}" for line in self.failures()]
        notes += [f"warning  {line}" for line in self.warnings]
        return notes + [f"not claimed  {line}" for line in self.reasons()]

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The matrix as aligned text, followed by failures and reasons."""
        table = [[self.name, *self.columns]]
        table += [[row, *(str(self.cells[row, column]) for column in self.columns)] for row in self.rows]
        widths = [max(len(line[n]) for line in table) for n in range(len(table[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in table]
        notes = self.notes()
        return "\n".join(lines + ([""] if notes else []) + notes)


def make_matrix(
    name: str,
    columns: Sequence[str],
    found: Iterable[Finding | Unclaimed | Warned],
    otherwise: str = "no check for this form",
    reasons: Mapping[Any, str] | None = None,
    errors: Iterable[str] = (),
) -> Matrix:
    """Findings sorted into a matrix.

    A cell that nothing speaks of is "not claimed", for the reason in `reasons`, by (row, column) or by
    column, or else `otherwise`.
    """
    reasons, warnings = reasons or {}, []
    measured: dict[tuple[str, str], list[Finding]] = {}
    why: dict[tuple[str, str], str] = {}
    rows: dict[str, None] = {}
    for item in found:
        if isinstance(item, Warned):
            warnings.append(item.text)
            continue
        rows[item.rule] = None
        at = (item.rule, item.form)
        if isinstance(item, Finding):
            measured.setdefault(at, []).append(item)
        else:
            why[at] = item.reason
    cells = {}
    for row in rows:
        for column in columns:
            seen = measured.get((row, column), [])
            fallback = reasons.get((row, column), reasons.get(column, otherwise))
            worst = max(seen, key=lambda finding: finding.share, default=None)
            cells[row, column] = Cell(worst, len(seen), why.get((row, column), fallback))
    once = tuple(dict.fromkeys(warnings))
    return Matrix(name, tuple(rows), tuple(columns), cells, tuple(errors), once)
