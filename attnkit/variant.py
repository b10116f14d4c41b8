"""Head sizes, token inputs and the catalogue card: shared by every family of variants."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

#: What the rows of a map are: `distribution`, weights of at least 0 that sum to 1, or to 0 without keys;
#: `share`, weights of at least 0 with any sum; `signed`, numbers of any sign.
MapKind = Literal["distribution", "share", "signed"]


def product_kind(*kinds: MapKind) -> MapKind:
    """Kind of a product, or of a collection, of maps of these kinds.

    >>> product_kind("distribution", "share"), product_kind("distribution", "signed")
    ('share', 'signed')
    """
    if "signed" in kinds:
        return "signed"
    return "share" if "share" in kinds else "distribution"


@dataclasses.dataclass(frozen=True)
class HeadShape:
    """Number and widths of the heads of one layer.

    Attributes:
        heads: number of (query) heads.
        dim: width of a query or key.
        value_dim: width of a value.
        kv_heads: number of key-value heads; each serves `heads / kv_heads` query heads. `heads` if not given.

    >>> HeadShape(heads=4, dim=8, value_dim=8).kv_heads
    4
    """

    heads: int
    dim: int
    value_dim: int
    kv_heads: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.kv_heads is None:
            object.__setattr__(self, "kv_heads", self.heads)
        elif self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}")


#: Kinds of parameters. The optimizer's options follow from them: weight decay and learning rates by kind, and
#: which parameters Muon updates.
#:   weight   linear maps, the last two axes being inputs and outputs (any axes before count maps)
#:   vector   other weights of sums: a score's last layer, a depthwise convolution
#:   readout  the linear map to logits
#:   bias     added to vectors or scores: biases, sinks, initial gates
#:   gain     multiplies vectors or scores: scales of norms, temperatures, gates, shares
#:   table    looked up: embeddings, positions, relative positions, latents, learned queries
#:   rate     numbers in a logarithm or another curve: decays, time steps, slopes, thresholds
#:   other    not declared
Kind = Literal["weight", "vector", "readout", "bias", "gain", "table", "rate", "other"]
Kinds = Mapping[str, Kind]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclasses.dataclass(frozen=True)
class TokenInput:
    """A per-token input of each head, which a layer projects from the token.

    Attributes:
        width: numbers per token and head.
        side: whether it belongs to the queries, to the keys, or to both.
        bias: initial bias of the projection; `None` for a projection without bias.
        shared: whether all heads get the same numbers: the array then has one head, or no head axis.
        cumulative: whether the variant sees the running sum over positions instead of the value itself.
        conv: whether the layer's short convolution is applied to it.
        rank: width of a bottleneck in the projection; `None` for none.
        tanh: whether the bottleneck passes through tanh.
    """

    width: int = 1
    side: Literal["query", "key", "both"] = "key"
    bias: float | None = None
    shared: bool = False
    cumulative: bool = False
    conv: bool = False
    rank: int | None = None
    tanh: bool = False


@dataclasses.dataclass(frozen=True)
class Card:
    """Source, equation and cost of a variant, for catalogues. Every field is a literal.

    Attributes:
        source: authors, year, arXiv number, place in the paper.
        equation: the formula, in one line.
        assumes: conditions under which it makes sense; empty if none.
        pair_flops: extra floating-point operations per query-key pair and head.
        sequence_flops: operations per head and sequence, where the cost is not one of pairs.
        token_flops: extra operations per token and layer, beside plain attention or, for what is not
            attention, in all.
        step_pair_flops: the same as `pair_flops` while decoding; empty if equal.
        step_flops: the same as `token_flops` while decoding; empty if equal.
        cache: numbers kept per token and layer while decoding; empty for those of plain attention.
        state: numbers kept per sequence and layer while decoding, whatever its length.
        forms: the forms that exist; empty for all of the family's.

    A multiplication and an addition are two operations. Formulas are sums and products of numbers and of
    `model_dim`, `heads`, `kv_heads`, `head_dim` (also called `dim`), `value_dim`, `length`, and the variant's
    own options.
    """

    source: str
    equation: str
    assumes: str = ""
    pair_flops: str = "0"
    sequence_flops: str = ""
    token_flops: str = "0"
    step_pair_flops: str = ""
    step_flops: str = ""
    cache: str = ""
    state: str = "0"
    forms: tuple[str, ...] = ()
