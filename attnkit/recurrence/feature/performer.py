"""Performer: unbiased random features of the softmax kernel (FAVOR+)."""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, Int

from attnkit.option_class import options
from attnkit.recurrence.contract import Params
from attnkit.recurrence.feature_map import FeatureMap, Features
from attnkit.recurrence.random_directions import directions
from attnkit.variant import Card, HeadShape


@options
class Performer(FeatureMap):
    """Random features whose products are unbiased estimates of `exp(q . k / sqrt(dim))`.

    Attributes:
        directions: random directions; `hyperbolic` and `trigonometric` features are two for each.
        kind: positive features `exp(w.x - |x|^2/2)`; `hyperbolic` adds those of `-w`; `trigonometric`
            features are bounded but may be negative, and so may weights and their sum.
        orthogonal: whether the directions of each block of `dim` are orthogonal, which lowers the variance.
        redrawn: whether directions are drawn anew at every training step. Evaluation uses those of the start.
    """

    card: ClassVar[Card] = Card(
        source="Choromanski et al. 2021, arXiv 2009.14794, lemma 1, section 2; causal: appendix B.1",
        equation="f(x) = exp(W x - |x|^2 / 2) / sqrt(directions), x scaled by dim^-1/4",
        assumes="no small number is added to features or sums, unlike in the authors' code",
    )
    positive: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    budget: ClassVar[str] = "directions"
    directions: Annotated[int, Ge(1)] = 256
    kind: Literal["positive", "hyperbolic", "trigonometric"] = "positive"
    orthogonal: bool = True
    redrawn: bool = False

    def width(self, dim: int) -> int:
        return self.directions if self.kind == "positive" else 2 * self.directions

    def random_constants(self, key: jax.Array, shape: HeadShape) -> Params:
        draw = jax.vmap(lambda one: directions(one, self.directions, shape.dim, self.orthogonal))
        return {"direction": draw(jax.random.split(key, shape.heads))}

    def features_at(
        self, p: Params, x: Float[Array, "tokens dim"], position: Int[Array, "tokens"] | None
    ) -> Features:
        w, x = p["direction"], x * x.shape[1] ** -0.25
        along, half = x @ w.T, jnp.sum(x * x, axis=1) / 2
        if self.kind == "trigonometric":
            return Features(jnp.concatenate([jnp.sin(along), jnp.cos(along)], 1) * len(w) ** -0.5, half)
        if self.kind == "hyperbolic":
            along = jnp.concatenate([along, -along], axis=1)
        top = jnp.max(along, axis=1)
        return Features(jnp.exp(along - top[:, None]) * along.shape[1] ** -0.5, top - half)
