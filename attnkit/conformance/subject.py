"""The subject of a check: a variant, its claims, and the arrays it is checked on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask
from attnkit.masks.everything import Everything
from attnkit.masks.window import Window
from attnkit.scored.contract import Part, Position, Scored
from attnkit.scored.ordered import OrderedNormalizer
from attnkit.scored.preset.attention import as_scored
from attnkit.variant import HeadShape

Tree = Any


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Distinct sizes, so that swapped axes cannot pass. The queries are the last of the keys' positions."""

    heads: int = 6
    kv_heads: int = 3
    dim: int = 12
    value_dim: int = 7
    queries: int = 13
    keys: int = 17

    @property
    def offset(self) -> int:
        """Position of the first query."""
        return self.keys - self.queries

    @property
    def shape(self) -> HeadShape:
        """Heads and widths alone."""
        return HeadShape(self.heads, self.dim, self.value_dim, self.kv_heads)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A variant under test.

    Attributes:
        name: how it is called in the matrix.
        scored: its parts.
        claims: symmetries it claims: `translation`, `permutation`.
        unclaimed: properties it does not claim, and why.
        sizes: of its arrays.
    """

    name: str
    scored: Scored
    claims: frozenset[str]
    unclaimed: Mapping[str, str]
    sizes: Sizes


def make_subject(thing: Any, sizes: Sizes | None = None) -> Subject:
    """The subject for a variant, a preset, one part (put into plain attention), or a class of these.

    Two class attributes of a preset or part say what it stands for; both may be left out.
    `claims = ("translation", "permutation")` names symmetries: a combination has those that all its parts
    have; a score has both unless it says otherwise, a position none; a mask may claim `causality`, too.
    `unclaimed = {"property": "reason"}` names properties that it is known not to have.

    Raises `TypeError` for anything else, and `ValueError` if the parts do not go together.
    """
    if isinstance(thing, type):
        thing = thing()
    scored = as_scored(thing)
    parts: list[Any] = [*scored.parts().all(), scored.mask]
    claims = frozenset.intersection(*(frozenset(claims_of(part)) for part in parts))
    unclaimed: dict[str, str] = {}
    for owner in (*parts, thing):
        unclaimed |= getattr(owner, "unclaimed", {})
    sizes = sizes or Sizes()
    heads = scored.mask.heads()
    if heads is not None and heads != sizes.heads:
        sizes = dataclasses.replace(sizes, heads=heads, kv_heads=heads)
    if any(need.cumulative and need.side == "query" for need in jax.tree.leaves(scored.inputs(sizes.shape))):
        sizes = dataclasses.replace(sizes, queries=sizes.keys)
    own = getattr(thing, "claims", None)
    return Subject(type(thing).__name__, scored, claims if own is None else frozenset(own), unclaimed, sizes)


def claims_of(part: Part | Mask) -> tuple[str, ...]:
    """Claims of a part, or else of its kind: symmetries, and causality of a mask."""
    claimed = getattr(part, "claims", None)
    if claimed is not None:
        return tuple(claimed)
    if isinstance(part, Position):
        return ()
    if isinstance(part, Mask):
        if isinstance(part, Everything):
            return ("translation", "permutation")
        if isinstance(part, Causal | Window):
            ahead = part.offset if isinstance(part, Causal) else part.ahead
            return ("translation",) if ahead > 0 else ("translation", "causality")
        return ()
    return ("translation",) if isinstance(part, OrderedNormalizer) else ("translation", "permutation")


def draw_arrays(subject: Subject, seed: int = 0) -> Tree:
    """Arrays in float64: `q`, `k`, `v`, learned `params` moved away from where they start, and `inputs`."""
    sizes, random = subject.sizes, np.random.default_rng(seed)
    params = subject.scored.init(jax.random.key(seed), sizes.shape)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape)

    def token_count(side: str) -> int:
        return sizes.queries if side == "query" else sizes.keys

    return {
        "q": normal(sizes.heads, sizes.queries, sizes.dim),
        "k": normal(sizes.kv_heads, sizes.keys, sizes.dim),
        "v": normal(sizes.kv_heads, sizes.keys, sizes.value_dim),
        "params": jax.tree.map(lambda a: np.asarray(a, np.float64) + 0.3 * normal(*a.shape), params),
        "inputs": jax.tree.map(
            lambda need: normal(1 if need.shared else sizes.heads, token_count(need.side), need.width),
            subject.scored.inputs(sizes.shape),
        ),
    }


def draw_like(tree: Tree, seed: int) -> Tree:
    """Standard normal arrays of the shapes of `tree`."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda a: random.normal(size=np.shape(a)), tree)


def own_data(subject: Subject) -> Data:
    """Run-time data for the variant's own mask and parts: three segments; lengths below `keys`."""
    sizes, needs = subject.sizes, subject.scored.needs()
    segments = np.minimum(np.arange(sizes.keys) // 6, 2).astype(np.int32)
    return Data(
        dict.fromkeys(needs.query, segments[sizes.offset :]),
        dict.fromkeys(needs.key, segments),
        dict.fromkeys(needs.scalar, np.asarray(sizes.keys - 3, np.int32)),
    )


def own_table(subject: Subject) -> np.ndarray:
    """Which pairs the variant's own mask allows, `[heads, queries, keys]`."""
    sizes, data = subject.sizes, own_data(subject).over_pairs()
    i, j = np.arange(sizes.offset, sizes.keys)[:, None], np.arange(sizes.keys)[None, :]
    tables = [
        np.broadcast_to(
            np.asarray(subject.scored.mask.allows(i, j, dataclasses.replace(data, head=head))),
            (sizes.queries, sizes.keys),
        )
        for head in range(sizes.heads)
    ]
    return np.stack(tables)
