"""MesaNet."""

from collections.abc import Callable
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from annotated_types import Ge, Gt
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import ConvSize, Inputs, Norm, Params, Transition
from attnkit.recurrence.l2_normalize import l2_normalize
from attnkit.recurrence.two_pass import ReadFirst, TwoPassRecurrent
from attnkit.variant import Card, HeadShape, Kinds, TokenInput


@options
class MesaNet(TwoPassRecurrent):
    """Every token reads with the linear map from keys to values that fits all tokens so far best.

    The map is that of ridge regression, `G_t^T (H_t + L)^{-1}`; the query is solved for instead of the map.
    The exact solution takes `dim^2` numbers per token at once and `dim^3` operations; conjugate gradients,
    as in the paper, read `H_t` as often as they iterate and store no more than vectors. Their derivatives are
    those of the exact solution, found by as many iterations: right as far as these have converged.

    Attributes:
        iterations: steps of conjugate gradients from zero, the paper trains with 30; `None` solves exactly.
        ridge: least entry of the diagonal `L`, which is learned; it starts at 1 or just above `ridge`.
        conv_size: taps of the causal convolution of queries and keys; 0 for none.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="von Oswald et al. 2025, arXiv 2506.05233, equation 5",
        equation="H_t = g_t H_{t-1} + b_t k_t k_t^T, G_t so of k_t v_t^T, o_t = G_t^T (H_t + L)^{-1} q_t",
        state="heads * dim * (dim + value_dim)",
    )
    iterations: Annotated[int, Ge(1)] | None = None
    ridge: Annotated[float, Gt(0)] = 0.25
    conv_size: ConvSize = 4
    norm: Norm = "rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(shape.dim, conv=True),
            "v": TokenInput(shape.value_dim),
            "decay": TokenInput(1, bias=0.0),
            "beta": TokenInput(1, bias=0.0),
        }

    kinds: ClassVar[Kinds] = {"ridge": "rate"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"ridge": jnp.full((shape.heads, shape.dim), jnp.log(jnp.expm1(max(1 - self.ridge, 1e-3))))}

    def first_pass_widths(self, shape: HeadShape) -> tuple[int, int]:
        return shape.dim, shape.dim

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        if name in ("q", "k"):
            return l2_normalize(jax.nn.silu(raw))
        return {"decay": jax.nn.log_sigmoid, "beta": jax.nn.sigmoid}.get(name, lambda raw: raw)(raw)

    def first_pass_write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["beta"] * x["k"], x["k"], x["decay"])

    def second_pass_inputs(self, p: Params, x: Inputs, read: ReadFirst) -> Inputs:
        ridge = self.ridge + jax.nn.softplus(p["ridge"])
        return {"solved": solve(x["q"], ridge, read, self.iterations)}

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return x["solved"]

    def write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["beta"] * x["k"], x["v"], x["decay"])


def solve(
    q: Float[Array, "tokens dim"], ridge: Float[Array, "dim"], read: ReadFirst, iterations: int | None
) -> Float[Array, "tokens dim"]:
    """`(H_t + Diag(ridge))^{-1} q_t` of every token, where `read` multiplies by the symmetric `H_t`."""
    if iterations is None:
        units = jnp.broadcast_to(jnp.eye(q.shape[1], dtype=q.dtype)[:, None], (q.shape[1], *q.shape))
        h = jax.vmap(read, out_axes=1)(units)
        # The solver reads one triangle; a derivative may move the state to one that is not symmetric.
        matrices = (h + jnp.swapaxes(h, -1, -2)) / 2 + jnp.diag(ridge)
        return jax.vmap(lambda a, b: jax.scipy.linalg.solve(a, b, assume_a="pos"))(matrices, q)

    def ratio(above: Array, below: Array) -> Array:
        a, b = (jnp.sum(products, axis=-1, keepdims=True) for products in (above, below))
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)

    def product(x: Array) -> Array:
        return read(x) + ridge * x

    def descend(product: Callable[[Array], Array], b: Array) -> Array:
        def iterate(at: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            x, rest, way = at
            along = product(way)
            size = ratio(rest * rest, way * along)
            left = rest - size * along
            return (x + size * way, left, left + ratio(left * left, rest * rest) * way), None

        return jax.lax.scan(iterate, (0 * b, b, b), None, length=iterations)[0][0]

    solved: Array = jax.lax.custom_linear_solve(product, q, descend, symmetric=True)
    return solved
