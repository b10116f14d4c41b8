"""Scored attention: the parts it is put together from, for one head of one sequence.

    q' = query(q_i), k' = key(k_j)                                   position parts, per token
    s  = cap(scan_keys(transform_logits(score(q', k') + biases)))    [queries, keys]
    w  = normalize(s) over the keys that the mask allows and the selections keep
    o  = dropout(transform_weights(w)) @ v + sum of value parts

Every hook of a part sees one head and one block: `q [queries, dim]`, `k [keys, dim]`, and the absolute
integer positions `i [queries]`, `j [keys]`. `p` is the part's own `PartParams`: `p["name"]` is a constant or
a learned parameter, `p.head` the index of the head, `p.query["name"]` and `p.key["name"]` its token inputs of
the block's queries and keys, and `p.data` the run-time data of the block.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from jaxtyping import Array, Bool, Float, Int

from attnkit.hooks import Hooked
from attnkit.masks.contract import Data, Mask, Needs
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.key_passes import FoldKeys, KeyPasses
from attnkit.token_mixer import TokenMixer
from attnkit.variant import HeadShape, MapKind, TokenInput

Rows = Int[Array, "queries"]
Columns = Int[Array, "keys"]
Queries = Float[Array, "queries dim"]
Keys = Float[Array, "keys dim"]
Scores = Float[Array, "queries keys"]
Row = Float[Array, "queries"]
Keep = Bool[Array, "queries keys"]
Values = Float[Array, "queries value_dim"]
Own = Mapping[str, Any]

HEADS = "heads"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PartParams:
    """Everything of one part that a hook sees, for one head and one block.

    Attributes:
        values: constants and learned parameters by name; `p["name"]` reads them.
        head: index of the head.
        seed: two random words for each head, if the part is `random` and a key was given.
        query: token inputs of the block's queries, `[queries, width]`.
        key: token inputs of the block's keys, `[keys, width]`.
        data: run-time data of the block.
    """

    values: Own
    head: Any = 0
    seed: Any = None
    query: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    key: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    data: Data = dataclasses.field(default_factory=Data)

    def __getitem__(self, name: str) -> Array:
        found: Array = self.values[name]
        return found


Params = PartParams


class Part(Hooked):
    """Anything scored attention is put together from: pure functions and the parameters they need."""

    #: whether a hook needs the other heads, see `gather_heads`
    mixes_heads: ClassVar[bool] = False
    #: whether `p.seed` is wanted: two random words per head, absent when nothing is to be random
    random: ClassVar[bool] = False

    def constants(self, shape: HeadShape) -> Own:
        """Fixed per-head numbers, each with a leading axis of `shape.heads`."""
        return {}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        """Fresh learned parameters, each with a leading axis of `shape.heads`."""
        return {}

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        """Per-token inputs that a layer must project for this part, by name."""
        return {}

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        """Activation of a projected input, before it is summed or used."""
        return raw

    def needs(self) -> Needs:
        """Names of the run-time data that the part reads."""
        return Needs()


class Score(Part, abc.ABC):
    """Similarity of queries and keys."""

    @abc.abstractmethod
    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        """Scores of all pairs, at least float32. Any scale (such as 1/sqrt(dim)) is applied here."""


class Position(Part, abc.ABC):
    """Position encodings and other facts about tokens: any of several hooks, each optional.

    A part that defines `scan_keys` is sequential: keys are visited from the last to the first.
    """

    #: whether features turn in pairs, so that the width of a head must be even
    pairs: ClassVar[bool] = False
    #: whether a block must hold all keys, so that nothing can be computed by blocks of keys
    needs_all_keys: ClassVar[bool] = False

    def position_ids(self, positions: Int[Array, "tokens"], data: Own) -> Int[Array, "tokens ..."]:
        """Positions that `query` and `key` get, from absolute ones and the run-time data of these tokens.

        `data` has the run-time data in `needs()` of this side, by name.
        """
        return positions

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        """Queries as the score sees them."""
        return q

    def key(self, k: Keys, j: Columns) -> Keys:
        """Keys as the score and the cache see them. Shared by a group of heads, so there is no `p`."""
        return k

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores | None:
        """Term added to the score, after its scale and before the cap."""
        return None

    def transform_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        """Transform of the scores after all biases, before the cap."""
        return s

    def initial_carry(self, p: Params, q: Queries) -> Any:
        """Carry of `scan_keys` before the last key: arrays with a leading axis of queries."""
        return jnp.zeros(q.shape[0], jnp.promote_types(q.dtype, jnp.float32))

    def scan_keys(
        self, p: Params, q: Queries, k: Keys, s: Scores, keep: Keep, i: Rows, j: Columns, carry: Any
    ) -> tuple[Scores, Any]:
        """Scores after `transform_logits`, given the carry of all later keys; and the next carry.

        Pairs outside of `keep` must leave the carry as it is: blocks without any are not visited.
        """
        return s, carry

    def transform_weights(self, p: Params, w: Scores, q: Queries, i: Rows, j: Columns) -> Scores:
        """Transform of the weights after they are normalized. Linear in `w`, and never changes a sign."""
        return w

    def value(self, p: Params, w: Scores, i: Rows, j: Columns) -> Values | None:
        """Term added to the output. Linear in the weights `w`."""
        return None

    def check_head_dim(self, dim: int) -> None:
        """Raise `ValueError` if heads cannot have `dim` features."""

    def is_sequential(self) -> bool:
        """Whether scores depend on later keys."""
        return type(self).scan_keys is not Position.scan_keys


class Selection(Part, abc.ABC):
    """Which of the keys that the mask allows are kept, by their content. Carries no derivative.

    A `Position` part may be a `Selection` as well.
    """

    #: whether queries and keys matter, not its token inputs alone; if they do not, `q` and `k` are empty in
    #: `row_statistics`, which then runs once for all heads that share these inputs
    uses_content: ClassVar[bool] = True

    def row_statistics(self, fold_keys: FoldKeys, i: Rows, empty: Row, keys: int) -> Any:
        """Statistics of each row that `select` needs: arrays with a leading axis of queries.

        Args:
            fold_keys: folds `step(state, p, q, k, keep, i, j)` over the row's blocks of keys; `keep` is what
                the mask allows.
            i: the rows' positions.
            empty: zeros, one for each row, of the type to compute in.
            keys: all key positions are below this.
        """
        return ()

    @abc.abstractmethod
    def select(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, stats: Any) -> Keep:
        """Pairs that are kept; those that the mask hides stay hidden."""


Leaf = TypeVar("Leaf", covariant=True)
Other = TypeVar("Other")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Parts(Generic[Leaf]):
    """One value for each part of a variant, by its place: a pytree.

    Attributes:
        score: of the score.
        normalizer: of the normalizer.
        position: of each position part.
        selection: of each selection.
    """

    score: Leaf
    normalizer: Leaf
    position: tuple[Leaf, ...] = ()
    selection: tuple[Leaf, ...] = ()

    def map(self, function: Callable[..., Other], *others: "Parts[Any]") -> "Parts[Other]":
        """`function` of each part's values."""
        every = (self, *others)
        return Parts(
            function(*(one.score for one in every)),
            function(*(one.normalizer for one in every)),
            tuple(function(*each) for each in zip(*(one.position for one in every), strict=True)),
            tuple(function(*each) for each in zip(*(one.selection for one in every), strict=True)),
        )

    def replace(self, **values: Any) -> "Parts[Any]":
        """The same with other values in some places."""
        return dataclasses.replace(self, **values)

    def all(self) -> tuple[Leaf, ...]:
        """All values: score, normalizer, positions, selections."""
        return (self.score, self.normalizer, *self.position, *self.selection)


class Normalizer(Part, abc.ABC):
    """How rows of scores become weights.

    A normalizer owns its passes over the keys. The kinds beside this file implement `attend` for whole
    families: `exponential`, `implicit`, `elementwise`, `ordered`. A kind of your own derives from this class.
    """

    #: over which axis weights compete; with `queries`, later queries matter to earlier ones
    axis: ClassVar[Literal["keys", "queries"]] = "keys"
    #: what its rows of weights are
    map_kind: ClassVar[MapKind] = "signed"

    def is_sequential(self) -> bool:
        """Whether weights depend on the scores of later keys, so that keys are visited in order."""
        return False

    def transform_capped_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        """Transform of the capped scores before they are normalized: noise, say, or a temperature."""
        return s

    @abc.abstractmethod
    def weights_of_rows(self, p: Params, s: Scores, keep: Keep, j: Columns) -> tuple[Scores, Row]:
        """Definition, for whole rows: weights (0 where not `keep`) and log-sum-exp or threshold.

        `s` is finite. Rows without keys have weights of 0 and -inf. It is differentiable.
        """

    @abc.abstractmethod
    def attend(self, passes: KeyPasses, block: Any) -> tuple[Values, Row]:
        """Output and log-sum-exp (or threshold) by passes over the keys: an `attnkit.forms.passes.Passes`.

        Args:
            passes: folds and sums over the blocks of keys.
            block: all rows and keys of a head, padded to whole blocks: an `attnkit.scored.block.Block`.
        """

    def unmergeable(self) -> str | None:
        """Why partial results over pieces of the keys cannot be merged; `None` if they can."""
        return f"normalizer = {type(self).__name__}: pieces can be merged only for exponential normalizers"


@options
class Scored:
    """One way of computing scored attention: the parts, in the order in which they act.

    Attributes:
        score: similarity of a query and a key.
        position: position encodings and other additions, applied in order.
        cap: soft cap `c` of the scores, `s -> c tanh(s / c)`, before the mask; `None` for none.
        mask: who may look at whom.
        selection: which of the keys that the mask allows are kept by content; all must keep a key.
        normalizer: how scores become weights.
        dropout: probability with which a weight is set to zero (the others grow by `1 / (1 - dropout)`).
    """

    score: Score
    normalizer: Normalizer
    position: tuple[Position, ...] = ()
    cap: Annotated[float, Gt(0)] | None = None
    mask: Mask = Everything()
    selection: tuple[Selection, ...] = ()
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def parts(self) -> Parts[Any]:
        """The parts that may own parameters."""
        return Parts(self.score, self.normalizer, self.position, self.selection)

    def needs(self) -> Needs:
        """Names of the run-time data that the mask or a part reads."""
        needs = self.mask.needs()
        for part in self.parts().all():
            needs = needs | part.needs()
        return needs

    def is_sequential(self) -> bool:
        """Whether scores depend on later keys."""
        return any(part.is_sequential() for part in self.position)

    def map_kind(self) -> MapKind:
        """Kind of its weights."""
        kind = self.normalizer.map_kind
        own = Position.transform_weights
        changed = any(type(part).transform_weights is not own for part in self.position)
        return "share" if changed and kind == "distribution" else kind

    def mixes_heads(self) -> bool:
        """Whether some part needs the scores of other heads."""
        return any(part.mixes_heads for part in self.parts().all())

    def needs_all_keys(self) -> Position | None:
        """The first part that must see all keys of a row at once."""
        return next((part for part in self.position if part.needs_all_keys), None)

    def selects(self) -> bool:
        """Whether some part keeps keys by content."""
        return bool(self.selection) or any(isinstance(part, Selection) for part in self.position)

    def constants(self, shape: HeadShape) -> Parts[Own]:
        """Constants of every part: `{name: [heads, ...]}`."""
        return self.parts().map(lambda part: dict(part.constants(shape)))

    def init(self, key: jax.Array, shape: HeadShape) -> Parts[Own]:
        """Fresh parameters of every part: `{name: [heads, ...]}`."""
        keys = iter(jax.random.split(key, len(self.parts().all())))
        return self.parts().map(lambda part: dict(part.init(next(keys), shape)))

    def inputs(self, shape: HeadShape) -> Parts[Mapping[str, TokenInput]]:
        """Per-token inputs of every part, by name."""
        return self.parts().map(lambda part: dict(part.inputs(shape)))


class Preset(TokenMixer, abc.ABC):
    """A combination of parts that can be chosen by name."""

    def map_kind(self) -> MapKind:
        return self.scored().map_kind()

    @abc.abstractmethod
    def scored(self) -> Scored:
        """The parts it stands for. Raises `ValueError` where they do not go together."""

    def receptive_field(self) -> Mask:
        scored = self.scored()
        return Everything() if scored.normalizer.axis == "queries" else scored.mask

    def check_heads(self, heads: int, kv_heads: int, head_dim: int) -> None:
        for part in self.scored().position:
            part.check_head_dim(head_dim)


def dot(a: Float[Array, "rows dim"], b: Float[Array, "columns dim"]) -> Float[Array, "rows columns"]:
    """`a b^T`, accumulated and returned in at least float32 whatever the type of the inputs."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return jax.lax.dot_general(a, b, (((1,), (1,)), ((), ())), preferred_element_type=wide)
