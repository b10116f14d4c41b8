"""Rotary position embedding for longer texts, as in Llama 3.1."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from attnkit.encodings.rotation import frequencies, rotate, slowed_by_parts
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class RotaryLlama3(Position):
    """Rotary embedding with slow rotations slowed down; YaRN with other limits and without sharpening.

    Attributes:
        factor: how many times longer texts become.
        length: length of the texts trained on before.
        least: `low_freq_factor`: pairs that turn at most so often in `length` are slowed by `factor`.
        most: `high_freq_factor`: pairs that turn at least so often are left; greater than `least`.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Grattafiori et al. 2024 (Llama 3), arXiv 2407.21783, and Llama 3.1's released code",
        equation="rotary with f (g + (1 - g) / factor), g = clip((turns - least) / (most - least), 0, 1)",
        assumes="dim is even",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    factor: Annotated[float, Ge(1)] = 8.0
    length: Annotated[int, Ge(1)] = 8192
    least: Annotated[float, Ge(0)] = 1.0
    most: Annotated[float, Gt(0)] = 4.0
    base: Annotated[float, Gt(1)] = 500000.0

    def __post_init__(self) -> None:
        if self.most <= self.least:
            raise ValueError(f"RotaryLlama3: most = {self.most} must be greater than least = {self.least}")

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Columns) -> Keys:
        frequency = frequencies(k.shape[1], self.base)
        return rotate(k, j, slowed_by_parts(frequency, self.factor, self.length, self.least, self.most))
