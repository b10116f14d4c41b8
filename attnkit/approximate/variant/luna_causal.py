"""Luna's causal form: two nested sums over the past."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    State,
    Values,
)
from attnkit.approximate.prefix import Past, no_past, prefix
from attnkit.options import options
from attnkit.variant import Card, HeadShape, TokenInput


@options
class LunaCausal(Approximate):
    """What Luna packs up to now, unpacked for the token of now.

    Each token writes with strengths `a_j` over learned rows, and reads them by what its query finds there.

    Attributes:
        rows: how many learned rows.
    """

    card: ClassVar[Card] = Card(
        source="Ma et al. 2021 (Luna's causal attention), arXiv 2106.01540, and the authors' code",
        equation="a_j = softplus(P c_j / sqrt(dim)), "
        "b_t = softmax((1/t) sum_{j<=t} (q_t . k_j) a_j / sqrt(dim)), o_t = (1/t) sum_{j<=t} (b_t . a_j) v_j",
        sequence_flops="12 * length * rows * dim",
        assumes="softplus of base 2, as in the authors' code; rows are the layer's own; c is a second key",
    )
    causal: ClassVar[bool] = True  # type: ignore[misc]
    budget: ClassVar[str] = "rows"
    rows: Annotated[int, Ge(1)] = 16

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"rows": jax.random.normal(key, (shape.heads, self.rows, shape.dim))}

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"pack": TokenInput(shape.dim, bias=0.0)}

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        return self._continued(p, q, k, v, i, length, None, None)[0]

    def _continued(self, p: Params, q: Any, k: Any, v: Any, i: Rows, length: Any, one: Any, two: Any) -> Any:
        """Output of tokens at positions `i`, whose keys come after the pasts of both sums."""
        scale, past = q.shape[1] ** -0.5, (i + 1.0)[:, None]
        exists = jnp.zeros(len(i), q.dtype) if length is None else jnp.where(i < length, 0, -jnp.inf)
        a = jax.nn.softplus(p["pack"] @ p["rows"].T * scale * math.log(2)) / math.log(2)
        found, _, one = prefix(q * scale, k, a, exists, None, one)
        read = jax.nn.softmax(found / past, axis=1)
        output, _, two = prefix(read, a, v, exists, None, two)
        return output / past, one, two

    def start(self, shape: HeadShape, room: int, dtype: Any) -> State:
        """The two sums over no keys."""
        wide = jnp.promote_types(dtype, jnp.float32)
        one, two = no_past(shape.dim, self.rows, wide), no_past(self.rows, shape.value_dim, wide)
        kept = {"keys": one.sums, "values": two.sums, "top": one.top}
        return {**kept, "length": jnp.zeros((), jnp.int32)}

    def step(self, p: Params, q: Queries, k: Keys, v: Values, state: State) -> tuple[Outputs, State]:
        p, q, k, v, _ = self.ready(p, q, k, v, None)
        i = state["length"] + jnp.arange(q.shape[0])
        pasts = (Past(state["keys"], state["top"]), Past(state["values"], state["top"]))
        output, one, two = self._continued(p, q, k, v, i, None, *pasts)
        length = state["length"] + q.shape[0]
        return output, {"keys": one.sums, "values": two.sums, "top": one.top, "length": length}
