"""Attention whose heads are as wide as one likes."""

from typing import Annotated, ClassVar

from annotated_types import Ge
from flax import nnx

from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import Width
from attnkit.layers.heads import ConcatProjection, InputProjection, OutputProjection, QKVProjection
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape


@options
class HeadSize(AttentionTokenMixer):
    """Attention whose queries and keys, and whose values, have widths of their own.

    Attributes:
        key_dim: width of a query and key; `None` for `model_dim / heads`.
        value_dim: width of a value; `None` for `model_dim / heads`.
    """

    card: ClassVar[Card] = Card(
        source="Bhojanapalli et al. 2020, arXiv 2002.07028, section 3",
        equation="o_i = sum_j softmax_j(q_i . k_j / sqrt(key_dim)) v_j, q, k in R^key_dim, v in R^value_dim",
        pair_flops="2 * (key_dim + value_dim) - 4 * head_dim",
        token_flops="2 * model_dim * (heads + kv_heads) * (key_dim + value_dim - 2 * head_dim)",
        cache="kv_heads * (key_dim + value_dim)",
        forms=("dense", "blockwise", "step"),
    )
    key_dim: Annotated[int, Ge(1)] | None = None
    value_dim: Annotated[int, Ge(1)] | None = None

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        key_dim, value_dim = self.key_dim or width.head_dim, self.value_dim or width.head_dim
        shape = HeadShape(width.heads, key_dim, value_dim, width.kv_heads)
        return QKVProjection(width.model_dim, shape, rngs=rngs)

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        value_dim = self.value_dim or width.head_dim
        return ConcatProjection(width.model_dim, width.heads * value_dim, scale=scale, rngs=rngs)
