"""Formulas of cards: sums and products that are printed as they stand, and worked out for usual sizes."""

import ast
import functools
import operator
from collections.abc import Callable, Mapping

OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LONGEST = 400


def worked_out(formula: str, names: Mapping[str, float]) -> float | None:
    """The value of a formula of numbers, names, `+ - * /` and brackets; `None` if it is not one.

    >>> worked_out("2 * dim + 3", {"dim": 64})
    131.0
    >>> worked_out("log k per pass", {}) is None
    True
    """
    if len(formula) > LONGEST:
        return None
    try:
        return value(parsed(formula), names)
    except (SyntaxError, KeyError, ZeroDivisionError, ValueError, RecursionError):
        return None


@functools.lru_cache(maxsize=1024)
def parsed(formula: str) -> ast.expr:
    """The syntax tree of a formula."""
    return ast.parse(formula, mode="eval").body


def value(node: ast.expr, names: Mapping[str, float]) -> float:
    """The value of a part of a formula. Raises `KeyError` or `ValueError` if it has none."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return float(names[name])
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -value(inner, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](value(left, names), value(right, names))
    raise ValueError(ast.dump(node))


def plus(*formulas: str) -> str:
    """The sum of formulas, without zeros.

    >>> plus("2 * dim", "0", "-3 * heads", "4")
    '2 * dim - 3 * heads + 4'
    """
    text = ""
    for formula in formulas:
        if formula.strip() in ("", "0"):
            continue
        if not text:
            text = formula
        else:
            text += f" - {formula[1:].strip()}" if formula.startswith("-") else f" + {formula}"
    return text or "0"


def rounded(number: float) -> str:
    """`12,345` or `1.5`: whole if it is."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.3g}"
