"""One runner for every family: properties are checked on cases, and what was found becomes a matrix."""

import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax

from attnkit.conformance.matrix import Finding, Matrix, Unclaimed, Warned, make_matrix
from attnkit.hooks import Hooked, is_contract

Item = Finding | Unclaimed | Warned
Check = Callable[[Any], Iterator[Item]]


@runtime_checkable
class Case(Protocol):
    """A variant with arrays to check it on."""

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Properties that the variant does not claim, each with the reason."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """The properties of a family of variants.

    Attributes:
        columns: the forms that are compared.
        checks: generators of findings about a case, by name, in the order in which they run.
        levels: names of the checks of each level.
        cases: cases of a variant, from the variant, the level and sizes (`None` for the usual ones).
        float64: whether everything runs with 64-bit types.
        otherwise: why nothing is claimed of a cell that no check speaks of.
        reasons: the same for particular cells, by (row, column), or columns, by column.
    """

    columns: tuple[str, ...]
    checks: Mapping[str, Check]
    levels: Mapping[str, Iterable[str]]
    cases: Callable[[Any, str, Any], Iterable[Case]]
    float64: bool = False
    otherwise: str = "no check for this form"
    reasons: Callable[[Any], Mapping[Any, str]] = lambda case: {}

    def run(self, variant: Any, level: str, sizes: Any = None, only: frozenset[str] = frozenset()) -> Matrix:
        """Check a variant.

        An exception inside a check is an error of the matrix, with the place of the hook that raised it, and
        never a failure of a property. If the first check of all, `hooks`, raises, nothing else runs.

        Args:
            variant: what is checked.
            level: which checks run.
            sizes: of the arrays.
            only: names of checks to run instead of the level's.

        Raises:
            ValueError: if the level or a name is unknown.
        """
        if level not in self.levels:
            raise ValueError(f"level = {level!r}: expected one of {', '.join(self.levels)}")
        if unknown := sorted(only - set(self.checks)):
            raise ValueError(f"only = {unknown}: expected some of {', '.join(self.checks)}")
        chosen = only or frozenset(self.levels[level])
        found: list[Item] = []
        errors: dict[str, list[str]] = {}
        reasons: dict[Any, str] = {}
        with jax.enable_x64(True) if self.float64 else contextlib.nullcontext():
            for case in self.made(variant, level, sizes, errors):
                for name in (name for name in self.checks if name in chosen):
                    try:
                        found += (waived(item, case.unclaimed) for item in self.checks[name](case))
                    except Exception as error:
                        errors.setdefault(message(error), []).append(name)
                        if name == "hooks":
                            break
                reasons |= self.reasons(case)
        lines = [f"{text} (in {', '.join(dict.fromkeys(names))})" for text, names in errors.items()]
        return make_matrix(type(variant).__name__, self.columns, found, self.otherwise, reasons, lines)

    def made(self, variant: Any, level: str, sizes: Any, errors: dict[str, list[str]]) -> Iterable[Case]:
        """The cases; none, and an error, if a hook of the variant raises."""
        try:
            return tuple(self.cases(variant, level, sizes))
        except Exception as error:
            if (text := message(error)).endswith("]"):
                errors[text] = ["arrays"]
                return ()
            raise


def waived(item: Item, unclaimed: Mapping[str, str]) -> Item:
    """A finding about a property that the variant does not claim becomes its reason."""
    if isinstance(item, Finding) and item.rule in unclaimed:
        return Unclaimed(item.rule, item.form, unclaimed[item.rule])
    return item


class HookError(Exception):
    """A hook gives arrays of a wrong shape. The message names its file and line."""


def message(error: Exception) -> str:
    """An exception in one line, with file and line of the innermost hook of a variant that was running."""
    if isinstance(error, HookError):
        return str(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Hooked) and not in_contract(type(owner), frame.f_code):
            return (
                f"{text} [{frame.f_code.co_filename}:{line}, {type(owner).__name__}.{frame.f_code.co_name}]"
            )
    return text


def in_contract(kind: type, code: Any) -> bool:
    """Whether a method that runs is a contract's own, not that of a variant."""
    for base in kind.__mro__:
        method = vars(base).get(code.co_name)
        if getattr(method, "__code__", None) is code:
            return is_contract(base)
    return False
