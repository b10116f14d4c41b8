"""ListOps: the value of nested lists of operations on digits."""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)
OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
CLOSE = FIRST + 10 + len(OPERATORS)
WHOLE = Vocabulary((*Vocabulary.SPECIAL, *map(str, range(10)), *OPERATORS, "]"), " ")
TRIES = 1000


@options
class Listops(Task):
    """The value of an expression such as `[MAX 2 9 [MIN 4 7 ] 0 ]`, a digit.

    The operators are minimum, maximum, median (rounded down) and sum modulo 10. The outermost one always
    exists; each of its 2 to `most_arguments` arguments is an operator with probability `nesting`, if it is
    not at `depth` already, and otherwise an even digit of 0 to 9; and so on within. Expressions are drawn
    until they have `shortest` to `longest` tokens. LRA's own task is depth = 10, most_arguments = 10,
    shortest = 501, longest = 1999 (a list at depth 10 is a digit, so its lists nest at most 9 deep).

    With `layout = "source"` it is a classification: an encoder reads the expression. With `layout =
    "prompt"` a decoder reads it and says the digit next.

    >>> example, = Listops(longest=14).load().examples("valid", 1)
    >>> example.prompt
    '[MIN 9 [MED [MIN 0 3 ] 3 [SM 3 6 ] ] ]'
    >>> example.answer
    '3'

    Attributes:
        layout: what reads the expression: an encoder, or a decoder.
        depth: an argument at this depth is a digit; the outermost operator is at depth 1.
        most_arguments: most arguments of an operator.
        nesting: how probable it is that an argument is a list.
        shortest: fewest tokens.
        longest: most tokens.
        held_out: expressions of each split.

    Source: Nangia and Bowman 2018, arXiv 1804.06028; Tay et al. 2020, arXiv 2011.04006 (Long Range Arena),
    whose generator's rule this is.
    """

    layout: Literal["source", "prompt"] = "source"
    depth: Annotated[int, Ge(2)] = 4
    most_arguments: Annotated[int, Ge(2)] = 5
    nesting: Annotated[float, Gt(0.0), Lt(1.0)] = 0.25
    shortest: Annotated[int, Ge(4)] = 8
    longest: Annotated[int, Ge(4)] = 48
    held_out: Annotated[int, Ge(1)] = 1024

    def load(self) -> "ListopsDataset":
        """Expressions without end. Raises `ConfigError` for lengths that cannot be."""
        most = most_tokens(self.depth, self.most_arguments)
        if not self.shortest <= self.longest or self.shortest > most:
            raise ConfigError(
                f"shortest = {self.shortest}: expected at most longest = {self.longest} and {most}, the size "
                f"of the largest expression of depth {self.depth}"
            )
        return ListopsDataset(self)


class ListopsDataset(Generated):
    """Expressions and values. No few tokens decide a value, so there is no evidence."""

    def __init__(self, task: Listops) -> None:
        self.task = task
        self.vocabulary = WHOLE
        if task.layout == "source":
            self.source_vocabulary = WHOLE
        super().__init__(task, splits=("valid", "test"), size=task.held_out)
        self.floors = {**self.floors, **best_by_operator(self.held_out["valid"])}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Expressions of the right lengths, the first `count` of as many as are needed."""
        task = self.task
        tokens = np.zeros((0, task.longest), np.int64)
        values = np.zeros(0, np.int64)
        for _ in range(TRIES):
            made, value, size = expressions(stream, max(2 * count, 64), task)
            fits = (size >= task.shortest) & (size <= task.longest)
            tokens, values = np.concatenate([tokens, made[fits]]), np.concatenate([values, value[fits]])
            if len(tokens) >= count:
                break
        else:
            raise DataError(f"shortest = {task.shortest}: expressions of this length are too rare; lower it")
        tokens, digits = tokens[:count], FIRST + values[:count]
        if task.layout == "source":
            return layout.classified(tokens, digits)
        return layout.after_prompt(tokens, digits[:, None])


def most_tokens(depth: int, arguments: int) -> int:
    """Tokens of the largest expression.

    >>> most_tokens(3, 2)
    10
    """
    size = 1
    for _ in range(depth - 1):
        size = 2 + arguments * size
    return size


def expressions(stream: Stream, count: int, task: Listops) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random expressions: tokens `[count, longest]`, values and numbers of tokens `[count]`.

    All are written from left to right at once, each with a stack of its open lists. One that has not ended
    after `longest` tokens is given `longest + 1` of them, and no value.
    """
    longest, most = task.longest, task.most_arguments
    nested = stream.uniform(longest, count) < task.nesting
    digits = stream.below(10, longest, count)
    operators = stream.below(len(OPERATORS), longest, count)
    sizes = stream.between(2, most, longest, count)
    tokens = np.zeros((count, longest), np.int64)
    wanted, held, operator = np.zeros((3, count, task.depth), np.int64)
    arguments = np.zeros((count, task.depth, most), np.int64)
    # Level 0 is the whole: a list of one argument, which is what is left in the end.
    wanted[:, 0] = 1
    level, length = np.zeros((2, count), np.int64)
    running = np.arange(count)
    for place in range(longest):
        top = level[running]
        full = held[running, top] == wanted[running, top]
        opens = ~full & ((top == 0) | (nested[place, running] & (top + 1 < task.depth)))
        told, value = running[~opens & ~full], digits[place]
        tokens[told, place] = FIRST + value[told]
        put(arguments, held, told, level[told], value[told])
        opened = running[opens]
        level[opened] += 1
        wanted[opened, level[opened]], held[opened, level[opened]] = sizes[place, opened], 0
        operator[opened, level[opened]] = operators[place, opened]
        tokens[opened, place] = FIRST + 10 + operators[place, opened]
        closed = running[full]
        at = level[closed]
        found = valued(operator[closed, at], arguments[closed, at], held[closed, at])
        level[closed] -= 1
        put(arguments, held, closed, level[closed], found)
        tokens[closed, place] = CLOSE
        length[running] += 1
        running = running[(level[running] > 0)]
        if not len(running):
            break
    length[running] += 1
    return tokens, arguments[:, 0, 0], length


def put(
    arguments: np.ndarray, held: np.ndarray, rows: np.ndarray, level: np.ndarray, value: np.ndarray
) -> None:
    """Append `value [rows]` to the list at `level [rows]`."""
    arguments[rows, level, held[rows, level]] = value
    held[rows, level] += 1


def valued(operator: np.ndarray, arguments: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Value of each list: `operator [rows]` of the first `held [rows]` of `arguments [rows, most]`.

    >>> valued(np.arange(4), np.array([[3, 8, 9, 0]] * 4), np.full(4, 3)).tolist()
    [3, 9, 8, 0]
    """
    real = np.arange(arguments.shape[1]) < held[:, None]
    ranked = np.sort(np.where(real, arguments, 10), axis=1)
    total = np.where(real, arguments, 0).sum(axis=1) % 10
    below, above, last = (
        np.take_along_axis(ranked, index[:, None], axis=1)[:, 0]
        for index in ((held - 1) // 2, held // 2, held - 1)
    )
    return np.choose(operator, [ranked[:, 0], last, (below + above) // 2, total])


def best_by_operator(batch: Batch) -> dict[str, float]:
    """Accuracy of predicting the most frequent digit of the outermost operator."""
    first = batch["source"][:, 0] if "source" in batch else batch["inputs"][:, 1]
    labels = batch["labels"].max(axis=1)
    hits = sum(np.bincount(labels[first == operator]).max() for operator in np.unique(first))
    return dict.fromkeys(("token_accuracy", "exact_match"), float(hits / len(labels)))
