"""Linformer: keys and values projected to a fixed number of rows."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge

from attnkit.approximate.contract import Approximate, Count, Keys, Outputs, Params, Queries, Rows, Values
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape, Kinds


@options
class Linformer(Approximate):
    """Softmax attention to `rank` learned mixtures of keys, each with the same or another mixture of values.

    There is no causal form: a mixture holds keys of all times.

    Attributes:
        rank: how many mixtures.
        length: largest number of tokens.
        shared: whether values are mixed as keys are.
    """

    card: ClassVar[Card] = Card(
        source="Wang et al. 2020, arXiv 2006.04768, equation 7",
        equation="o = softmax(q (E k)^T / sqrt(dim)) (F v)",
        sequence_flops="8 * length * rank * dim",
        assumes="attention matrices of low rank; positions beyond a shorter sequence's end count as zeros",
    )
    crosses: ClassVar[bool] = True
    budget: ClassVar[str] = "rank"
    rank: Annotated[int, Ge(1)] = 64
    length: Annotated[int, Ge(1)] = 512
    shared: bool = False

    kinds: ClassVar[Kinds] = {"key": "weight", "value": "weight"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        names = ("key",) if self.shared else ("key", "value")
        size = (shape.heads, self.rank, self.length)
        keys = jax.random.split(key, len(names))
        return {n: jax.random.normal(k, size) * self.length**-0.5 for n, k in zip(names, keys, strict=True)}

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        keys = k.shape[0]
        self.check_length(keys)
        mixed = p["key"][:, :keys] @ k
        values = p["key" if self.shared else "value"][:, :keys] @ v
        return jax.nn.softmax(q @ mixed.T * q.shape[1] ** -0.5, axis=-1) @ values
