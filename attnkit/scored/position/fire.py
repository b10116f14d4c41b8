"""Functional interpolation for relative positions."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.scored.hidden import sum_over_units
from attnkit.variant import Card, HeadShape, Kinds


@options
class Fire(Position):
    """A small network turns the distance, as a share of the query's position, into a bias.

    Positions count from 0. Each head has a hidden layer of its own (the paper's heads share one), and the
    output has no bias term, which would move all scores of a row alike.

    Attributes:
        hidden: width of the network's hidden layer.
        length: initial threshold; up to it, distances are shares of the threshold and not of the position.
        start: initial `c`, how strongly the logarithm spreads short distances.
    """

    card: ClassVar[Card] = Card(
        source="Li et al. 2023 (FIRE), arXiv 2310.04418",
        equation="s_ij <- s_ij + f(log(c |i - j| + 1) / log(c max(i, L) + 1)), f a network, c and L learned",
        pair_flops="4 * hidden + 8",
        assumes="causal attention",
    )
    hidden: Annotated[int, Ge(1)] = 32
    length: Annotated[float, Gt(0)] = 512.0
    start: Annotated[float, Gt(0)] = 0.1

    kinds: ClassVar[Kinds] = {
        "c": "rate",
        "threshold": "rate",
        "into": "vector",
        "bias": "bias",
        "out": "vector",
    }

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        into, bias, out = jax.random.split(key, 3)
        size = (shape.heads, self.hidden)
        return {
            "c": jnp.full(shape.heads, self.start),
            "threshold": jnp.ones(shape.heads),
            "into": jax.random.normal(into, size),
            "bias": jax.random.uniform(bias, size, minval=-1.0),
            "out": jax.random.normal(out, size) * self.hidden**-0.5,
        }

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        c, threshold = jnp.abs(p["c"]), jnp.abs(p["threshold"]) * self.length
        distance = jnp.abs(i[:, None] - j[None, :])
        share = jnp.log1p(c * distance) / jnp.log1p(c * jnp.maximum(i, threshold))[:, None]
        units = (p["into"], p["bias"], p["out"])
        return sum_over_units(lambda u: u[2] * jax.nn.relu(share * u[0] + u[1]), units)
