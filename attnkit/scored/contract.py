"""Scored attention: the parts it is put together from, for one head of one sequence.

    q' = query(q_i), k' = key(k_j)                       position parts, per token
    s  = cap(walk(rescore(score(q', k') + biases)))      [queries, keys]
    w  = normalize(s) over the keys that the mask allows and the selection chooses
    o  = dropout(reweigh(w)) @ v + sum of value parts

Every method of a part sees one head and one block: `q [queries, dim]`, `k [keys, dim]`, and the absolute
integer positions `i [queries]`, `j [keys]`. `p` is the part's own dictionary: its constants, its learned
parameters, `p["head"]` (the head's index, int32), its per-token inputs (`name_i`, `name_j`) and, outside
of `query`, `p["data"]`: run-time data of this block.
"""

import abc
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from jaxtyping import Array, Bool, Float, Int

from attnkit.hooks import Hooked
from attnkit.masks.contract import Mask, Needs
from attnkit.masks.everything import Everything
from attnkit.options import options
from attnkit.token_mixer import TokenMixer
from attnkit.variant import HeadShape, TokenInput

Params = Mapping[str, Any]
Rows = Int[Array, "queries"]
Columns = Int[Array, "keys"]
Queries = Float[Array, "queries dim"]
Keys = Float[Array, "keys dim"]
Scores = Float[Array, "queries keys"]
Row = Float[Array, "queries"]
Keep = Bool[Array, "queries keys"]
Sweep = Callable[[Callable[..., Any], Any], Any]

HEADS = "heads"


class Part(Hooked):
    """Anything scored attention is put together from: pure functions and the parameters they need."""

    #: whether a method needs the other heads, gathered over the mapped axis `HEADS`
    mixes_heads: ClassVar[bool] = False
    #: whether `p["seed"]` is wanted: two random words per head, absent when nothing is to be random
    random: ClassVar[bool] = False

    def constants(self, shape: HeadShape) -> Params:
        """Fixed per-head numbers, each with a leading axis of `shape.heads`."""
        return {}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        """Fresh learned parameters, each with a leading axis of `shape.heads`."""
        return {}

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        """Per-token inputs that a layer must project for this part, by name."""
        return {}

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        """What is made of a projected input before it is summed or used."""
        return raw

    def needs(self) -> Needs:
        """Names of the run-time data that the part reads."""
        return Needs()


class Score(Part, abc.ABC):
    """How similar a query and a key are."""

    @abc.abstractmethod
    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        """Scores of all pairs, at least float32. Any scale (such as 1/sqrt(dim)) is applied here."""


class Position(Part, abc.ABC):
    """How positions, or other facts about tokens, enter: any of several ways, each optional."""

    #: whether `walk` is defined: scores that depend on later keys, visited from the last to the first
    walks: ClassVar[bool] = False
    #: whether features turn in pairs, so that the width of a head must be even
    pairs: ClassVar[bool] = False
    #: whether a block must hold all keys, so that nothing can be computed by blocks
    whole: ClassVar[bool] = False
    #: whether `shows` is defined: some keys that the mask allows are hidden
    hides: ClassVar[bool] = False

    def places(self, positions: Int[Array, "tokens"], data: Mapping[str, Any]) -> Int[Array, "tokens ..."]:
        """What `query` and `key` get as positions, from absolute ones and the run-time data of these tokens.

        `data` is that of the side that these tokens belong to.
        """
        return positions

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        """The query as the score sees it."""
        return q

    def key(self, k: Keys, j: Columns) -> Keys:
        """The key as the score and the cache see it. Shared by a group of heads, so it has no `p`."""
        return k

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores | None:
        """What is added to the score, after its scale and before the cap."""
        return None

    def rescore(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        """What is made of the scores after all biases, before the cap."""
        return s

    def ahead(self, p: Params, q: Queries) -> Any:
        """The state of `walk` before the last key: arrays with a leading axis of queries."""
        return jnp.zeros(q.shape[0], jnp.promote_types(q.dtype, jnp.float32))

    def walk(
        self, p: Params, q: Queries, k: Keys, s: Scores, keep: Keep, i: Rows, j: Columns, ahead: Any
    ) -> tuple[Scores, Any]:
        """New scores after `rescore`, from these keys and what is known of all later ones; and that, updated.

        Pairs outside of `keep` must leave the state as it is: blocks without any are not visited.
        """
        return s, ahead

    def shows(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Keep:
        """Which pairs are kept of those that the mask allows. Carries no derivative."""
        return jnp.ones((q.shape[0], k.shape[0]), bool)

    def reweigh(self, p: Params, w: Scores, q: Queries, i: Rows, j: Columns) -> Scores:
        """What is made of the weights after they are normalized. Linear in `w`."""
        return w

    def value(self, p: Params, w: Scores, i: Rows, j: Columns) -> Float[Array, "queries value_dim"] | None:
        """What is added to the output. Linear in the weights `w`."""
        return None

    def check_head_dim(self, dim: int) -> None:
        """Raise `ValueError` if heads cannot have `dim` features."""


class Selection(Part, abc.ABC):
    """Which of the keys that the mask allows are chosen by what stands in them. Carries no derivative."""

    #: whether queries and keys matter, not its token inputs alone; if they do not, `q` and `k` are empty in
    #: `survey`, which then runs once for all heads that share these inputs
    looks: ClassVar[bool] = True

    def survey(self, sweep: Sweep, i: Rows, empty: Row, keys: int) -> Any:
        """Facts about each row that `chosen` needs: arrays with a leading axis of queries.

        Args:
            sweep: `sweep(fold, start)` folds `fold(state, p, q, k, keep, i, j)` over the row's blocks of
                keys, in any order; `keep` is what the mask allows. It must use no other arrays.
            i: the rows' positions.
            empty: zeros, one for each row, of the type to compute in.
            keys: all key positions are below this.
        """
        return ()

    @abc.abstractmethod
    def chosen(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, facts: Any) -> Keep:
        """Which pairs are kept; those that the mask hides stay hidden."""


class Normalizer(Part, abc.ABC):
    """How a row of scores becomes weights. Implement one of the kinds in `attnkit.scored.normalize`."""

    #: whether weights are normalized over the keys of a query or over the queries of a key, later ones too
    axis: ClassVar[Literal["keys", "queries"]] = "keys"

    def perturb(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        """What is made of the capped scores before they are normalized: noise, say, or a temperature."""
        return s


@options
class Scored:
    """One way of computing scored attention: the parts, in the order in which they act.

    Attributes:
        score: similarity of a query and a key.
        position: position encodings and other additions, applied in order.
        cap: soft cap `c` of the scores, `s -> c tanh(s / c)`, before the mask; `None` for none.
        mask: who may look at whom.
        selection: which of the keys that the mask allows are chosen by content; all must choose a key.
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

    def parts(self) -> dict[str, Part]:
        """The parts that may own parameters, by the name under which they are kept."""
        named: dict[str, Part] = {"score": self.score, "normalizer": self.normalizer}
        named |= {f"position_{n}": part for n, part in enumerate(self.position)}
        return named | {f"selection_{n}": part for n, part in enumerate(self.selection)}

    def needs(self) -> Needs:
        """Names of the run-time data that the mask or a part reads."""
        readers: tuple[Mask | Part, ...] = (self.mask, *self.parts().values())
        return functools.reduce(operator.or_, (reader.needs() for reader in readers))

    def walks(self) -> bool:
        """Whether scores depend on later keys."""
        return any(part.walks for part in self.position)

    def constants(self, shape: HeadShape) -> dict[str, Params]:
        """Constants of every part: `{part: {name: [heads, ...]}}`."""
        return {name: dict(part.constants(shape)) for name, part in self.parts().items()}

    def init(self, key: jax.Array, shape: HeadShape) -> dict[str, Params]:
        """Fresh parameters of every part that has some: `{part: {name: [heads, ...]}}`."""
        keys = jax.random.split(key, len(self.parts()))
        made = {
            name: dict(part.init(k, shape))
            for k, (name, part) in zip(keys, self.parts().items(), strict=True)
        }
        return {name: params for name, params in made.items() if params}

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        """Per-token inputs of every part, named `part.input`."""
        return {
            f"{name}.{key}": need
            for name, part in self.parts().items()
            for key, need in part.inputs(shape).items()
        }

    def activate(self, name: str, raw: Array) -> Array:
        """The activation of the input named `part.input`."""
        part, key = name.split(".")
        return self.parts()[part].activate(key, raw)


class Preset(TokenMixer, abc.ABC):
    """A combination of parts that can be chosen by name."""

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
