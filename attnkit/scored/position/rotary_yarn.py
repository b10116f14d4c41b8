"""Rotary position embedding for longer texts, YaRN."""

import math
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.encodings.rotation import frequencies, rotate, slowed_by_parts
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class RotaryYarn(Position):
    """Rotary embedding in which only slow rotations are slowed down, with sharper scores.

    The paper scales queries and keys by `sqrt(1/t) = 0.1 ln(factor) + 1` each; here the query has both. The
    mixture runs over turns as in the paper; the authors' code lets it run over pair numbers.

    Attributes:
        factor: how many times longer texts become.
        length: length of the texts trained on before.
        least: pairs that turn at most so often in `length` are slowed by `factor`.
        most: pairs that turn at least so often in `length` are left as they are; greater than `least`.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Peng et al. 2023 (YaRN), arXiv 2309.00071, sections 3.2 to 3.4",
        equation="rotary with f (g + (1 - g) / factor), g = clip((turns - least) / (most - least), 0, 1)",
        assumes="dim is even",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    factor: Annotated[float, Ge(1)] = 4.0
    length: Annotated[int, Ge(1)] = 2048
    least: Annotated[float, Ge(0)] = 1.0
    most: Annotated[float, Gt(0)] = 32.0
    base: Annotated[float, Gt(1)] = 10000.0

    def __post_init__(self) -> None:
        if self.most <= self.least:
            raise ValueError(f"RotaryYarn: most = {self.most} must be greater than least = {self.least}")

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i) * (0.1 * math.log(self.factor) + 1) ** 2

    def key(self, k: Keys, j: Columns) -> Keys:
        frequency = frequencies(k.shape[1], self.base)
        return rotate(k, j, slowed_by_parts(frequency, self.factor, self.length, self.least, self.most))
