"""Recurrent attention token by token: the definition."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.forms.recurrent.contract import Form, Matrix, Sizes
from attnkit.forms.recurrent.tokens import Tokens, varying_zero
from attnkit.recurrence.contract import Order, Params, Recurrent, SteppedRecurrent, Transition


class Scan(Form):
    """One step of `jax.lax.scan` per token."""

    name: ClassVar[str] = "scan"
    rank: ClassVar[int] = 1

    def supports(self, variant: Recurrent, sizes: Sizes, platform: str) -> str | None:
        return None

    def chunk(self, variant: Recurrent, sizes: Sizes, asked: int | None) -> int:
        return 1

    def run(
        self,
        q: Float[Array, "tokens dim"],
        write: Transition,
        state: Matrix,
        reset: Bool[Array, "tokens"] | None,
        order: Order,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
        def token(s: Matrix, one: Any) -> tuple[Matrix, Array]:
            q, write, empty = one
            old = s if empty is None else jnp.where(empty, 0, s)
            decayed = old if write.g is None else jnp.exp(write.g)[:, None] * old
            new = decayed
            if write.a is not None:
                b = -write.k if write.b is None else write.b
                new = new + jnp.outer(b, write.a @ {"before": old, "decayed": decayed}[order.correct])
            new = new + jnp.outer(write.k, write.v)
            return new, q @ {"after": new, "before": old, "decayed": decayed}[order.read]

        state = state + varying_zero((q, write))
        with jax.default_matmul_precision("highest"):
            last, o = jax.lax.scan(token, state, (q, write, reset))
        return o, last

    def run_stepped(
        self, variant: SteppedRecurrent, p: Params, tokens: Tokens, state: Any, size: int | None = None
    ) -> tuple[Float[Array, "tokens value_dim"], Any]:
        empty = jax.tree.map(jnp.zeros_like, state)

        def token(state: Any, one: Any) -> tuple[Any, Array]:
            x, real, reset = one
            old = jax.tree.map(lambda a, b: jnp.where(reset, b, a), state, empty)
            new, o = variant.step(p, old, x)
            return jax.tree.map(lambda a, b: jnp.where(real, a, b), new, old), o

        with jax.default_matmul_precision("highest"):
            last, o = jax.lax.scan(token, state, (dict(tokens.x), tokens.real, tokens.begins()))
        return o, last


FORM = Scan()
