"""Test-time training of a linear model."""

from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Card, HeadShape, Inputs, Norm, Params, SteppedRecurrent, TokenInput

EPSILON = 1e-6


class Moved(NamedTuple):
    """How far weights and bias of the inner model are from where they start."""

    matrix: Float[Array, "value_dim value_dim"]
    bias: Float[Array, "value_dim"]


class Training(NamedTuple):
    """The state of the inner training.

    Attributes:
        begin: the model at the beginning of the mini-batch, of which all its gradients are taken.
        now: the model after the tokens so far.
        place: how many tokens of the mini-batch there have been.
    """

    begin: Moved
    now: Moved
    place: Array


def standardized(x: Float[Array, "value_dim"]) -> Float[Array, "value_dim"]:
    """`(x - mean) / sqrt(variance + 1e-6)`."""
    x = x - jnp.mean(x)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x)) + EPSILON)


@options
class TttLinear(SteppedRecurrent):
    """The state is a linear model that learns to tell values from keys, by a gradient step on each token.

    The model `f(x) = x + LN(x W + b)` starts from learned weights, which training the network adapts. The
    step is `speed * sigmoid(w . x_t) / value_dim`, divided by the width as the authors' code does. Their code
    also divides it by the place in the mini-batch and rotates keys and queries there, which is not in the
    paper's equations and not done here. The output is not linear in the values: there are no weights to show.

    Attributes:
        speed: largest inner step, the paper's `eta_base`, before it is divided by the width.
        batch: tokens of a mini-batch, whose gradients are all taken where it begins; 1 is online descent.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Sun et al. 2024, arXiv 2407.04620, equations 1 to 6 and section 2.7",
        equation="W_t = W_{t-1} - eta_t dl/dW (W_b; k_t, v_t), l = |f(k_t) - v_t|^2 / 2, o_t = f(q_t; W_t)",
        state="8 * value_dim * (value_dim + 1) + 4",
        forms=("scan", "step"),
    )
    speed: Annotated[float, Gt(0)] = 1.0
    batch: Annotated[int, Ge(1)] = 16
    norm: Norm = "layer"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.value_dim, side="query"),
            "k": TokenInput(shape.value_dim),
            "v": TokenInput(shape.value_dim),
            "rate": TokenInput(1, start=0.0),
        }

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        heads, dim = shape.heads, shape.value_dim
        return {
            "matrix": 0.02 * jax.random.normal(key, (heads, dim, dim)),
            "bias": jnp.zeros((heads, dim)),
            "norm_scale": jnp.ones((heads, dim)),
            "norm_shift": jnp.zeros((heads, dim)),
        }

    def start(self, shape: HeadShape, dtype: Any) -> Training:
        dim = shape.value_dim
        still = Moved(jnp.zeros((dim, dim), dtype), jnp.zeros(dim, dtype))
        return Training(still, still, jnp.zeros((), jnp.int32))

    def step(self, p: Params, state: Training, x: Inputs) -> tuple[Training, Float[Array, "value_dim"]]:
        def model(moved: Moved, x: Array) -> Array:
            z = x @ (p["matrix"] + moved.matrix) + p["bias"] + moved.bias
            return x + p["norm_scale"] * standardized(z) + p["norm_shift"]

        def loss(moved: Moved) -> Array:
            return jnp.sum(jnp.square(model(moved, x["k"]) - x["v"])) / 2

        eta = self.speed * jax.nn.sigmoid(x["rate"][0]) / x["v"].shape[0]
        now = jax.tree.map(lambda w, slope: w - eta * slope, state.now, jax.grad(loss)(state.begin))
        place = (state.place + 1) % self.batch
        begin = jax.tree.map(lambda new, old: jnp.where(place == 0, new, old), now, state.begin)
        return Training(begin, now, place), model(now, x["q"])
