"""Rotary position embedding of text, pictures and videos in one sequence."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Array, Int

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.masks.contract import Needs
from attnkit.option_class import options
from attnkit.scored.contract import Keys, Params, Position, Queries
from attnkit.variant import Card

AXES = ("time", "row", "column")


@options
class Mrope(Position):
    """A token has three positions: time, row and column. Each turns its section of the pairs of features.

    The positions are run-time data: `time`, `row` and `column` of every query and key.
    A word has three equal ones, so on text alone this is `Rotary`; a picture's patches share their time.

    Attributes:
        sections: pairs of features for time, row and column, as parts of a whole; Qwen2-VL has
            (16, 24, 24) of 64, which is this.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Wang et al. 2024 (Qwen2-VL), arXiv 2409.12191, M-RoPE, and the authors' code",
        equation="pair c of q_i turns by f_c x_i, x = time, row or column by the section of c; k the same",
        assumes="dim is even",
    )
    sections: tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)], Annotated[int, Ge(0)]] = (2, 3, 3)
    base: Annotated[float, Gt(1)] = 10000.0

    def __post_init__(self) -> None:
        if not sum(self.sections):
            raise ValueError(f"Mrope: sections = {self.sections}: at least one must be positive")

    def needs(self) -> Needs:
        return Needs(query=frozenset(AXES), key=frozenset(AXES))

    def position_ids(
        self, positions: Int[Array, "tokens"], data: Mapping[str, Any]
    ) -> Int[Array, "tokens 3"]:
        return jnp.stack([data[axis] for axis in AXES], axis=-1)

    def query(self, p: Params, q: Queries, i: Int[Array, "queries 3"]) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Int[Array, "keys 3"]) -> Keys:
        frequency = frequencies(k.shape[1], self.base)
        pairs = frequency.shape[0]
        ends = np.round(pairs * np.cumsum(self.sections) / sum(self.sections))
        return rotate(k, j[:, np.searchsorted(ends, np.arange(pairs), side="right")], frequency)
