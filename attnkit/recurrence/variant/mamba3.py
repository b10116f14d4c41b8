"""Mamba-3."""

import functools
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.encodings.rotation import turn
from attnkit.option_class import options
from attnkit.recurrence.chunks import CHUNK, in_chunks
from attnkit.recurrence.contract import Gate, Inputs, Params, SteppedRecurrent
from attnkit.recurrence.discretization import init_decay, time_step
from attnkit.recurrence.pairwise import decay_between, same_document
from attnkit.variant import Card, HeadShape, Kinds, TokenInput

exact = functools.partial(jnp.einsum, precision="highest")
EPSILON = 1e-5
LEAST_DECAY = 1e-4


class Trapezoid(NamedTuple):
    """The state `h`, and of the last token the key (rotated), the value, and the angles modulo 2 pi."""

    matrix: Float[Array, "rows value_dim"]
    k: Float[Array, "rows"]
    v: Float[Array, "value_dim"]
    angle: Float[Array, "angles"]


@options
class Mamba3(SteppedRecurrent):
    """A state-space model of the trapezoidal rule with a complex state, as a rotation of B and C.

    Each token adds a share `l_t` of its own input and `1 - l_t` of the one before. B (`k`) and C (`q`) are
    shared by all heads, normed, moved by a bias of each head, and rotated by the sum of `pi tanh(a) dt` over
    the tokens so far. One input and one output for each head (SISO); there is no short convolution.
    In the authors' code pairs of rows are neighbors, here halves, and gains are shared by the heads.

    Attributes:
        rows: rows of the state, the width of B and C.
        angles: pairs of rows that are rotated; the authors take a quarter of `rows`.
        gate: nonlinearity of the gate on the output.
    """

    card: ClassVar[Card] = Card(
        source="Lahoti et al. 2026, arXiv 2603.15569; the authors' code, mamba3.py",
        equation="h_t = e_t h_{t-1} + (1-l_t) dt_t e_t B_{t-1} x_{t-1}^T + l_t dt_t B_t x_t^T, "
        "e_t = exp(-A_t dt_t), y_t = C_t h_t + D x_t",
        state="heads * (rows * value_dim + rows + value_dim + angles)",
    )
    rows: Annotated[int, Ge(2)] = 64
    angles: Annotated[int, Ge(1)] = 16
    gate: Gate = "swish"

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.angles > self.rows:
            raise ValueError(f"angles = {self.angles}: expected at most half of rows = {self.rows}")

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(self.rows, shared=True, side="query"),
            "k": TokenInput(self.rows, shared=True),
            "v": TokenInput(shape.value_dim),
            "dt": TokenInput(1),
            "decay": TokenInput(1),
            "share": TokenInput(1),
            "angle": TokenInput(self.angles, shared=True),
        }

    kinds: ClassVar[Kinds] = {
        "dt_bias": "rate",
        "skip": "gain",
        "q_gain": "gain",
        "k_gain": "gain",
        "q_bias": "bias",
        "k_bias": "bias",
    }

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        ones = {f"{name}_{part}": jnp.ones((shape.heads, self.rows)) for name in "qk" for part in PARTS}
        return {**ones, "dt_bias": init_decay(key, shape.heads)["dt_bias"], "skip": jnp.ones(shape.heads)}

    def start(self, shape: HeadShape, dtype: Any) -> Trapezoid:
        sizes = ((self.rows, shape.value_dim), (self.rows,), (shape.value_dim,), (self.angles,))
        return Trapezoid(*(jnp.zeros(size, dtype) for size in sizes))

    def step(self, p: Params, state: Trapezoid, x: Inputs) -> tuple[Trapezoid, Float[Array, "value_dim"]]:
        dt, share, g, turns = discretized(p, x)
        angle = one_turn(state.angle + turns)
        q, k = (moved(p, name, x[name][None], angle[None])[0] for name in "qk")
        before = jnp.outer(state.k, (1 - share) * dt * state.v)
        h = jnp.exp(g) * (state.matrix + before) + jnp.outer(k, share * dt * x["v"])
        return Trapezoid(h, k, x["v"], angle), exact("d,dv->v", q, h) + p["skip"] * x["v"]

    def chunked(
        self,
        p: Params,
        x: Inputs,
        state: Trapezoid,
        reset: Bool[Array, "tokens"],
        real: Bool[Array, "tokens"],
        size: int | None,
    ) -> tuple[Float[Array, "tokens value_dim"], Trapezoid]:
        given = in_chunks({**x, "reset": reset, "real": real}, len(reset), size or CHUNK)
        last, o = jax.lax.scan(functools.partial(move, p), state, given)
        return o.reshape(-1, o.shape[-1])[: len(reset)], last

    def matrix(
        self, p: Params, x: Inputs, state: Trapezoid, reset: Bool[Array, "tokens"]
    ) -> Float[Array, "tokens tokens"]:
        count, dtype = len(reset), x["v"].dtype
        still = self.start(HeadShape(1, self.rows, count), dtype)
        given = {**x, "v": jnp.eye(count, dtype=dtype), "reset": reset, "real": jnp.ones_like(reset)}
        return move(p, still, given)[1]


PARTS = ("gain", "bias")


def discretized(p: Params, x: Inputs) -> tuple[Array, Array, Array, Array]:
    """Time step, share of the token's own input, log decay and change of the angles, of every token."""
    dt, raw = time_step(p, x["dt"]), x["decay"]
    rate = jnp.maximum(jnp.maximum(raw, 0) + 1 / (1 - jnp.minimum(raw, 0)), LEAST_DECAY)
    return dt, jax.nn.sigmoid(x["share"]), -rate * dt, jnp.pi * jnp.tanh(x["angle"]) * dt


def one_turn(angle: Float[Array, "*tokens angles"]) -> Float[Array, "*tokens angles"]:
    """Angles from 0 to 2 pi."""
    return angle - 2 * jnp.pi * jax.lax.stop_gradient(jnp.floor(angle / (2 * jnp.pi)))


def moved(
    p: Params, name: str, x: Float[Array, "tokens rows"], angle: Float[Array, "tokens angles"]
) -> Float[Array, "tokens rows"]:
    """B or C of every token: normed, moved by its bias, and rotated."""
    unit = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + EPSILON)
    return turn(p[f"{name}_gain"] * unit + p[f"{name}_bias"], jnp.sin(angle), jnp.cos(angle))


def move(p: Params, state: Trapezoid, x: Inputs) -> tuple[Trapezoid, Float[Array, "tokens value_dim"]]:
    """The state after a chunk of tokens, and their outputs. Moment 0 is that of the token before it."""
    same, real = same_document(x["reset"]), x["real"][:, None]
    dt, share, g, turns = discretized(p, x)
    dt, g, turns = (jnp.where(real, a, 0) for a in (dt, g, turns))
    line = jnp.concatenate([state.angle[None], turns])
    angle = one_turn(exact("ts,sa->ta", same.astype(line.dtype), line))
    q, k = (moved(p, name, x[name], angle[1:]) for name in "qk")
    k, v = (jnp.concatenate([a[None], b]) for a, b in ((state.k, k), (state.v, x["v"])))
    decay = decay_between(g[:, 0], same)
    own, following = jnp.pad(share * dt, ((1, 0), (0, 0))), jnp.pad((1 - share) * dt, ((0, 1), (0, 0)))
    later = jnp.tri(len(k), k=-1, dtype=decay.dtype)
    left = decay * (own[:, 0] + later * following[:, 0])
    o = exact("td,sd->ts", q, k) * left[1:]
    o = exact("ts,sv->tv", o, v) + exact("t,td,dv->tv", decay[1:, 0], q, state.matrix) + p["skip"] * x["v"]
    end = jnp.sum(x["real"])
    h = decay[-1, 0] * state.matrix + exact("s,sd,sv->dv", jnp.where(same[-1], left[end], 0), k, v)
    k, v = (jnp.where(same[-1, end], a[end], 0) for a in (k, v))
    return Trapezoid(h, k, v, angle[-1]), o
