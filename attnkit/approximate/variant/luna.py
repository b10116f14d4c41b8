"""Luna: attention packed into a few learned rows, and unpacked from them."""

from typing import Annotated, ClassVar

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
    Values,
    softmax,
)
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape, Kinds


@options
class Luna(Approximate):
    """Learned rows attend to the sequence; the sequence attends to what they found.

    Each head is the paper's nested attention of one head. `luna_causal` is its other form.

    Attributes:
        rows: how many learned rows.
    """

    card: ClassVar[Card] = Card(
        source="Ma et al. 2021, arXiv 2106.01540",
        equation="Y = softmax(P k^T / sqrt(dim)) v, o = softmax(q (Y W_k)^T / sqrt(dim)) Y W_v",
        sequence_flops="8 * length * rows * dim",
        assumes="a head packs and unpacks alone; rows are the layer's own, where the paper hands them on",
    )
    crosses: ClassVar[bool] = True
    mapless: ClassVar[str] = "what is packed is compared with queries, so weights depend on values"
    budget: ClassVar[str] = "rows"
    rows: Annotated[int, Ge(1)] = 16

    kinds: ClassVar[Kinds] = {"rows": "table", "key": "weight", "value": "weight"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        a, b, c = jax.random.split(key, 3)
        h, d, w = shape.heads, shape.dim, shape.value_dim
        return {
            "rows": jax.random.normal(a, (h, self.rows, d)),
            "key": jax.random.normal(b, (h, w, d)) * w**-0.5,
            "value": jax.random.normal(c, (h, w, w)) * w**-0.5,
        }

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        scale, real = q.shape[1] ** -0.5, jnp.arange(k.shape[0]) < length
        packed = softmax(p["rows"] @ k.T * scale, real & jnp.ones((self.rows, 1), bool)) @ v
        return jax.nn.softmax(q @ (packed @ p["key"]).T * scale, axis=-1) @ (packed @ p["value"])
