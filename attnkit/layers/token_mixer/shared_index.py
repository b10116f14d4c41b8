"""A shared index: attention to the keys that the index of a layer below picks."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array

from attnkit.layers.contract import Carry, TokenMixerLayer, Width
from attnkit.layers.heads import Tokens
from attnkit.layers.token_mixer.deepseek_sparse import DeepseekSparse, DeepseekSparseLayer
from attnkit.option_class import options
from attnkit.scored.contract import Parts
from attnkit.token_mixer import TokenMixer
from attnkit.variant import Card


@options
class SharedIndex(DeepseekSparse):
    """DeepSeek sparse attention without an index of its own: it uses that of the nearest layer below.

    A pattern such as `[deepseek_sparse, shared_index, shared_index]` has one index for three layers. Its
    penalty trains that index, too: together the penalties of equal factors are the cross-entropy with the
    mean of the layers' weights. Options of the index must be those of the layer that has it. What is chosen
    is computed again in every layer; maps, their parameters and their training are what is saved.
    """

    card: ClassVar[Card] = Card(
        source="IndexCache 2026, arXiv 2603.12201: full and shared layers, training-aware",
        equation="o_i = sum_{j in S_i} softmax_j(q_i . k_j / sqrt(dim)) v_j, S_i of the layer below",
        pair_flops="2 * index_heads * index_dim / heads",
        cache="2 * kv_heads * head_dim + index_heads * index_dim + index_heads + index_dim",
        forms=("dense", "blockwise", "step"),
        assumes="a deepseek_sparse layer below with the same index and mask",
    )
    refuses: ClassVar[Mapping[str, str]] = {
        **DeepseekSparse.refuses,
        "lowest": "the lowest layer has no layer below with an index",
    }

    def requires_below(self) -> tuple[TokenMixer, ...]:
        same = {"count": self.count, "index_heads": self.index_heads, "index_dim": self.index_dim}
        return (DeepseekSparse(position=self.position, mask=self.mask, **same),)

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        made = super().make_layer(width, cross=cross, padded=padded, scale=scale, rngs=rngs)
        assert isinstance(made, DeepseekSparseLayer)
        return SharedIndexLayer(made)


class SharedIndexLayer(DeepseekSparseLayer):
    """The layer of `SharedIndex`, from one with an index of its own."""

    def __init__(self, made: DeepseekSparseLayer) -> None:
        self.project, self.output_projection, self.engine = made.project, made.output_projection, made.engine
        self.factor, self.heads, self.dim = made.factor, made.heads, made.dim
        self.engine.inputs["selection"] = nnx.List([nnx.Dict()])

    def check_below(self, below: Sequence[TokenMixerLayer]) -> None:
        found = next((layer for layer in reversed(below) if isinstance(layer, DeepseekSparseLayer)), None)
        if found is None or found.engine.scored.selection != self.engine.scored.selection:
            raise ValueError(
                "mixer = SharedIndex: no deepseek_sparse layer with equal count, index_heads, index_dim is "
                "below; put one there, such as in the pattern [deepseek_sparse, shared_index]"
            )

    def token_inputs(self, asking: Tokens, asked: Tokens, carry: Carry) -> Parts[dict[str, Array]]:
        if "index" not in carry:
            raise ValueError("mixer = SharedIndex: call it with the carry of the layers below, by with_carry")
        found: Any = super().token_inputs(asking, asked, carry)
        return found.replace(selection=carry["index"])
