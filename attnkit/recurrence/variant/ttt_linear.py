"""Test-time training of a linear model."""

import functools
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.recurrence.chunks import CHUNK, in_chunks
from attnkit.recurrence.contract import Inputs, Norm, Params, SteppedRecurrent
from attnkit.variant import Card, HeadShape, Kinds, TokenInput

EPSILON = 1e-6
exact = functools.partial(jnp.einsum, precision="highest")


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


def standardized(x: Float[Array, "*tokens value_dim"]) -> Float[Array, "*tokens value_dim"]:
    """`(x - mean) / sqrt(variance + 1e-6)` of every token."""
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + EPSILON)


def model(
    p: Params, x: Float[Array, "*tokens value_dim"], z: Float[Array, "*tokens value_dim"]
) -> Float[Array, "*tokens value_dim"]:
    """`f(x)`, of `z = x W + b`."""
    return x + p["norm_scale"] * standardized(z) + p["norm_shift"]


def slopes(p: Params, x: Inputs, z: Float[Array, "*tokens value_dim"]) -> Float[Array, "*tokens value_dim"]:
    """The derivative of every token's inner loss by its own `z = k W + b`: the layer norm, backward."""
    z = z - jnp.mean(z, axis=-1, keepdims=True)
    size = jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True) + EPSILON)
    unit = z * size
    error = p["norm_scale"] * (x["k"] - x["v"] + p["norm_scale"] * unit + p["norm_shift"])
    error = error - jnp.mean(error, axis=-1, keepdims=True)
    return size * (error - unit * jnp.mean(error * unit, axis=-1, keepdims=True))


def apply(x: Float[Array, "*tokens value_dim"], moved: Moved) -> Float[Array, "*tokens value_dim"]:
    """Contribution to `z` of the change of the model since its start."""
    return exact("...d,de->...e", x, moved.matrix) + moved.bias


def descend(moved: Moved, k: Float[Array, "tokens value_dim"], by: Float[Array, "tokens value_dim"]) -> Moved:
    """The model after the tokens' inner steps, of which `by` are the slopes times the rates."""
    return Moved(moved.matrix - exact("td,te->de", k, by), moved.bias - jnp.sum(by, axis=0))


def choose(which: Bool[Array, ""], a: Moved, b: Moved) -> Moved:
    """`a` or `b`."""
    chosen: Moved = jax.tree.map(lambda a, b: jnp.where(which, a, b), a, b)
    return chosen


@options
class TttLinear(SteppedRecurrent):
    """The state is a linear model of values from keys, trained by a gradient step on each token.

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
        source="Sun et al. 2024, arXiv 2407.04620, equations 1 to 6, section 2.7, chunks: section 2.5",
        equation="W_t = W_{t-1} - eta_t dl/dW (W_b; k_t, v_t), l = |f(k_t) - v_t|^2 / 2, o_t = f(q_t; W_t)",
        state="heads * (2 * value_dim * (value_dim + 1) + 1)",
    )
    mapless: ClassVar[str] = "its steps of descent are not linear in the values that they predict"
    speed: Annotated[float, Gt(0)] = 1.0
    batch: Annotated[int, Ge(1)] = 16
    norm: Norm = "layer"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.value_dim, side="query"),
            "k": TokenInput(shape.value_dim),
            "v": TokenInput(shape.value_dim),
            "rate": TokenInput(1, bias=0.0),
        }

    kinds: ClassVar[Kinds] = {"matrix": "weight", "bias": "bias", "norm_scale": "gain", "norm_shift": "bias"}

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

    def _rate(self, x: Inputs) -> Float[Array, "*tokens"]:
        """The inner step of every token."""
        return self.speed * jax.nn.sigmoid(x["rate"][..., 0]) / x["v"].shape[-1]

    def step(self, p: Params, state: Training, x: Inputs) -> tuple[Training, Float[Array, "value_dim"]]:
        first = Moved(p["matrix"], p["bias"])
        slope = slopes(p, x, apply(x["k"], first) + apply(x["k"], state.begin))
        now = descend(state.now, x["k"][None], (self._rate(x) * slope)[None])
        place = (state.place + 1) % self.batch
        begin = choose(place == 0, now, state.begin)
        return Training(begin, now, place), model(p, x["q"], apply(x["q"], first) + apply(x["q"], now))

    def max_chunk(self, size: int) -> int:
        return min(size, self.batch)

    def chunked(
        self,
        p: Params,
        x: Inputs,
        state: Training,
        reset: Bool[Array, "tokens"],
        real: Bool[Array, "tokens"],
        size: int | None,
    ) -> tuple[Float[Array, "tokens value_dim"], Training]:
        count, size, first = len(reset), self.max_chunk(size or CHUNK), Moved(p["matrix"], p["bias"])
        given = {**x, "rate": jnp.where(real, self._rate(x), 0), "reset": reset, "real": real}
        given |= {"asked": apply(x["q"], first), "found": apply(x["k"], first)}

        # Recomputed in the backward pass: the residuals of a chunk are larger than its inputs and states.
        move = jax.checkpoint(functools.partial(self._move, p), prevent_cse=False)
        last, o = jax.lax.scan(move, state, in_chunks(given, count, size))
        return o.reshape(-1, o.shape[-1])[:count], last

    def _move(
        self, p: Params, state: Training, x: Inputs
    ) -> tuple[Training, Float[Array, "tokens value_dim"]]:
        """The state after a chunk, which is no longer than a mini-batch, and the outputs of its tokens.

        Its tokens are in the mini-batch that is open, in the one after it, or in the first one of a document.
        These begin at `begin`, at `middle` and at the learned model.
        """
        k, rate, document = x["k"], x["rate"], jnp.cumsum(x["reset"], dtype=jnp.int32)
        same, old = document[:, None] == document, document == 0
        opened = old & (state.place + jnp.arange(len(old)) < self.batch)
        early = slopes(p, x, x["found"] + apply(k, state.begin))
        middle = descend(state.now, k, jnp.where(opened, rate, 0)[:, None] * early)
        late = slopes(p, x, x["found"] + jnp.where(old[:, None], apply(k, middle), 0))
        slope = jnp.where(opened[:, None], early, late)
        pairs = jnp.where(jnp.tril(same), rate * (exact("td,sd->ts", x["q"], k) + 1), 0)
        asked = x["asked"] + jnp.where(old[:, None], apply(x["q"], state.now), 0)
        o = model(p, x["q"], asked - exact("ts,se->te", pairs, slope))
        still = jax.tree.map(jnp.zeros_like, state.now)
        by = jnp.where(same[-1] & ~opened, rate, 0)[:, None] * slope
        now = descend(choose(old[-1], middle, still), k, by)
        place = jnp.where(old[-1], state.place, 0) + jnp.sum(same[-1] & x["real"], dtype=jnp.int32)
        after = choose(old[-1], middle, now)
        begin = choose(place < self.batch, choose(old[-1], state.begin, still), after)
        return Training(begin, now, place % self.batch), o
