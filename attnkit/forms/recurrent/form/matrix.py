"""Recurrent attention as one matrix of all pairs of tokens, times the values."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.forms.recurrent.contract import Form, Matrix, Sizes
from attnkit.forms.recurrent.decay import exact_einsum
from attnkit.forms.recurrent.form import scan
from attnkit.forms.recurrent.form.chunked import make_chunk
from attnkit.forms.recurrent.tokens import Tokens
from attnkit.recurrent.contract import Order, Params, Recurrent, SteppedRecurrent, Transition


class MatrixForm(Form):
    """The effective attention matrix: quadratic in the length, for looking at the weights."""

    name: ClassVar[str] = "matrix"
    rank: ClassVar[int] = 2

    def chunk(self, variant: Recurrent, sizes: Sizes, asked: int | None) -> int:
        return max(sizes.steps, 1)

    def run(
        self,
        q: Float[Array, "tokens dim"],
        write: Transition,
        state: Matrix,
        reset: Bool[Array, "tokens"] | None,
        order: Order,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
        count = q.shape[0]
        room = 1 << max(count - 1, 0).bit_length()
        q, write, reset = jax.tree.map(
            lambda a: jnp.pad(a, ((0, room - count), *((0, 0),) * (a.ndim - 1))), (q, write, reset)
        )
        chunk = make_chunk(q, write._replace(v=jnp.eye(room, dtype=q.dtype)), reset, order)
        weights, response = exact_einsum("ts,sr->tr", chunk.weights, chunk.written), chunk.read
        write_keys, kept = (
            exact_einsum("sd,sr->dr", chunk.write_keys, chunk.written),
            jnp.diag(jnp.broadcast_to(chunk.kept, q.shape[-1:])),
        )
        if chunk.correction is not None:
            response = response + exact_einsum("ts,sd->td", chunk.weights, chunk.correction)
            kept = kept + exact_einsum("sd,se->de", chunk.write_keys, chunk.correction)
        o = exact_einsum("ts,sv->tv", weights, write.v) + exact_einsum("td,dv->tv", response, state)
        last = exact_einsum("ds,sv->dv", write_keys, write.v) + exact_einsum("de,ev->dv", kept, state)
        return o[:count], last

    def run_stepped(
        self, variant: SteppedRecurrent, p: Params, tokens: Tokens, state: Any, size: int | None = None
    ) -> tuple[Float[Array, "tokens value_dim"], Any]:
        weights = variant.matrix(p, tokens.x, state, tokens.begins())
        _, last = scan.FORM.run_stepped(variant, p, tokens, state)
        zeros = tokens._replace(x={**tokens.x, "v": jnp.zeros_like(tokens.x["v"])})
        o, _ = scan.FORM.run_stepped(variant, p, zeros, state)
        return o + exact_einsum("ts,sv->tv", weights, tokens.x["v"]), last


FORM = MatrixForm()
