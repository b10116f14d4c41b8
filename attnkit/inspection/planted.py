"""Networks whose weights are set by hand, so that it is known which heads and edges their answers need.

They are what every method of this package is held against: it must find the planted heads and edges and no
others.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from attnkit.inspection.interventions import LOGITS, Edge
from attnkit.inspection.maps import Head
from attnkit.layers.attention import AttentionLayer
from attnkit.layers.heads import ConcatProjection, QKVProjection, columns_by_head
from attnkit.layers.recurrent import RecurrentLayer
from attnkit.masks.causal import Causal
from attnkit.models.contract import Network, Sizes
from attnkit.models.decoder import Decoder
from attnkit.recurrence.feature.identity import Identity
from attnkit.recurrence.variant.linear import Linear
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer

Mixer = Literal["softmax", "linear"]
#: Tokens: `BEGIN`, three alphabets of `KINDS`, and others that are never an answer.
BEGIN, KINDS, VOCABULARY = 0, 4, 21
LENGTH, HEADS = 32, 2
#: Of the scores of a planted softmax head: so much between what it looks for and the rest.
MARGIN = 40.0
#: Of the logits: so much between the answer and the rest, where weights are 1.
SURE = 6.0


@dataclasses.dataclass(frozen=True)
class Match:
    """A term of a head's scores: `sign` where what the query has in a slot is what the key has in another.

    Attributes:
        query: slot of the query's vector: `token`, `position`, or one that a head below writes.
        key: slot of the key's vector.
        shift: for positions, how far before the query the key is.
        sign: of the term.
    """

    query: str
    key: str
    shift: int = 0
    sign: float = 1.0


@dataclasses.dataclass(frozen=True)
class Lookup:
    """A head that finds keys by matches and copies one of their slots to a slot of the query.

    Without matches it is a decoy: a softmax head that looks at everything evenly, a linear one at nothing.
    """

    layer: int
    head: int
    matches: tuple[Match, ...] = ()
    read: str = "token"
    write: str = "unused"


@dataclasses.dataclass(frozen=True)
class Planted:
    """A network with a known circuit, and texts for it.

    Attributes:
        name: of the circuit.
        mixer: what mixes its positions.
        network: the network.
        tokens: `[examples, tokens]`; the answer is asked for at the last.
        answers: `[examples]`.
        other: texts of the same kind with other answers, for resampling and patching.
        heads: the heads of the circuit.
        edges: the edges of the circuit.
        kinds: the score of `head_scores` that each of these heads has as 1, where it has one.
    """

    name: str
    mixer: Mixer
    network: Network
    tokens: np.ndarray
    answers: np.ndarray
    other: np.ndarray
    heads: frozenset[Head]
    edges: frozenset[Edge]
    kinds: Mapping[Head, str]

    def model(self) -> Callable[[Array], Array]:
        """The network as a function of tokens."""
        graph, params = nnx.split(self.network)
        return lambda tokens: nnx.merge(graph, params)({"inputs": tokens}).logits

    def metric(self) -> Callable[[Array], Array]:
        """Whether the answer has the largest logit, for each example."""
        answers = jnp.asarray(self.answers)
        return lambda logits: (logits[:, -1].argmax(axis=-1) == answers).astype(jnp.float32)

    def log_probability(self) -> Callable[[Array], Array]:
        """The log-probability of the answer, for each example."""
        rows, answers = jnp.arange(len(self.answers)), jnp.asarray(self.answers)
        return lambda logits: jax.nn.log_softmax(logits[:, -1])[rows, answers]


def head(layer: int, number: int) -> Head:
    """A head of a planted network."""
    return Head(f"decoder.{layer}.self", number)


PREVIOUS = Match("position", "position", shift=1)
LAST = "answer"
CIRCUITS: dict[str, tuple[tuple[Lookup, ...], frozenset[Edge], dict[Head, str]]] = {
    "previous token": (
        (Lookup(0, 0, (PREVIOUS,), write=LAST), Lookup(0, 1)),
        frozenset({Edge(head(0, 0), None, LOGITS)}),
        {head(0, 0): "previous_token"},
    ),
    "duplicate token": (
        (
            Lookup(0, 0),
            Lookup(0, 1, (Match("token", "token"), Match("position", "position", sign=-1.0)), write=LAST),
        ),
        frozenset({Edge(head(0, 1), None, LOGITS)}),
        {head(0, 1): "duplicate_token"},
    ),
    "induction": (
        (
            Lookup(0, 0, (PREVIOUS,), write="before"),
            Lookup(0, 1),
            Lookup(1, 0),
            Lookup(1, 1, (Match("token", "before"),), write=LAST),
        ),
        frozenset({Edge(head(0, 0), head(1, 1), "k"), Edge(head(1, 1), None, LOGITS)}),
        {head(0, 0): "previous_token", head(1, 1): "prefix_matching"},
    ),
    "two hops": (
        (
            Lookup(0, 0, (PREVIOUS,), write="before"),
            Lookup(0, 1),
            Lookup(1, 0),
            Lookup(1, 1, (Match("token", "before"),), write="middle"),
            Lookup(2, 0, (Match("middle", "before"),), write=LAST),
            Lookup(2, 1),
        ),
        frozenset(
            {
                Edge(head(0, 0), head(1, 1), "k"),
                Edge(head(0, 0), head(2, 0), "k"),
                Edge(head(1, 1), head(2, 0), "q"),
                Edge(head(2, 0), None, LOGITS),
            }
        ),
        {head(0, 0): "previous_token", head(1, 1): "prefix_matching"},
    ),
}


def plant(name: str, mixer: Mixer = "softmax", *, examples: int = 16, seed: int = 0) -> Planted:
    """A planted network by the name of its circuit, one of `CIRCUITS`.

    Source: the circuits are those of Olsson et al. 2022 (induction) and Wang et al. 2022, arXiv 2211.00593.
    """
    lookups, edges, kinds = CIRCUITS[name]
    random = np.random.default_rng(seed)
    tokens, answers = texts(name, examples, random)
    other, _ = texts(name, examples, random)
    heads = frozenset(head(one.layer, one.head) for one in lookups if one.matches)
    return Planted(name, mixer, network(lookups, mixer), tokens, answers, other, heads, edges, kinds)


def texts(name: str, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Texts of a circuit and their answers."""
    rows = [one_text(name, random) for _ in range(count)]
    return np.stack([row for row, _ in rows]), np.array([answer for _, answer in rows])


def one_text(name: str, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """One text, which begins with `BEGIN`, and its answer."""
    if name in ("previous token", "duplicate token"):
        words = random.integers(1, 1 + 3 * KINDS, size=LENGTH - 1)
        if name == "duplicate token":
            words[-1] = words[random.integers(LENGTH - 2)]
        return np.r_[BEGIN, words], int(words[-2] if name == "previous token" else words[-1])
    a, b, c = (1 + n * KINDS + random.permutation(KINDS) for n in range(3))
    hops = [(a[n], b[n]) for n in range(KINDS)] + [(b[n], c[n]) for n in range(KINDS)]
    chosen = hops + [hops[n] for n in random.integers(len(hops), size=(LENGTH - 2) // 3 - len(hops))]
    order = random.permutation(len(chosen))
    junk = random.integers(1 + 3 * KINDS, VOCABULARY, size=len(chosen))
    words = np.array([(*chosen[n], j) for n, j in zip(order, junk, strict=True)]).ravel()
    asked = random.integers(KINDS)
    start, answer = (a[asked], c[asked]) if name == "two hops" else (b[asked], c[asked])
    return np.r_[BEGIN, words, start], int(answer)


def network(lookups: tuple[Lookup, ...], mixer: Mixer) -> Network:
    """A decoder whose heads are the lookups."""
    written = [*dict.fromkeys(one.write for one in lookups), "answer"]
    slots, at = {"position": slice(0, LENGTH)}, LENGTH
    for name in dict.fromkeys(["token", *written]):
        slots[name], at = slice(at, at + VOCABULARY), at + VOCABULARY
    dim = max(at, HEADS * (VOCABULARY + LENGTH))
    dim += dim % HEADS
    kind: TokenMixer = Attention(mask=Causal())
    if mixer == "linear":
        kind = Linear(feature=Identity(), normalizer=False)
    depth = 1 + max(one.layer for one in lookups)
    config = Decoder(
        model_dim=dim, heads=HEADS, depth=depth, mlp_ratio=0.0, norm="rms", absolute="learned", mixer=kind
    )
    made = config.build(Sizes(vocabulary=VOCABULARY, length=LENGTH), nnx.Rngs(0))
    assert made.embedding.table is not None and made.embedding.positions is not None
    assert made.readout.kernel is not None
    made.embedding.table[...] = embed(slots["token"], VOCABULARY, dim) / dim**0.5
    made.embedding.positions[...] = embed(slots["position"], LENGTH, dim)
    answers = np.diag(np.arange(VOCABULARY) <= 3 * KINDS).astype(np.float32)
    made.readout.kernel[...] = (
        SURE * (5 / dim) ** 0.5 * jnp.asarray(embed(slots["answer"], VOCABULARY, dim).T @ answers)
    )
    for layer in range(depth):
        own = [one for one in lookups if one.layer == layer]
        set_layer(made.stack.blocks[layer].mixer, own, slots, dim)
    return made


def embed(slot: slice, count: int, dim: int) -> np.ndarray:
    """Unit vectors of a slot, `[count, dim]`."""
    table = np.zeros((count, dim), np.float32)
    table[:, slot] = np.eye(count)
    return table


def set_layer(layer: Any, lookups: list[Lookup], slots: Mapping[str, slice], dim: int) -> None:
    """Set the projections of a layer to those of its heads.

    A token's vector of squared length `n`, from 2 to 5, is normed to `dim`, so one of its slots is worth
    `sqrt(dim / n)`.
    """
    softmax = isinstance(layer, AttentionLayer)
    width = dim // HEADS
    gain = (4 * MARGIN * width**0.5 / dim if softmax else 3 / dim) ** 0.5
    q, k, v = (np.zeros((dim, dim), np.float32) for _ in range(3))
    out = np.zeros((dim, dim), np.float32)
    for one in lookups:
        start = one.head * width
        for match in one.matches:
            rows, columns = slots[match.query], slots[match.key]
            size = rows.stop - rows.start
            place = slice(start, start + size)
            start += size
            q[rows, place] = np.eye(size, k=-match.shift) * gain
            k[columns, place] = np.eye(size) * gain * match.sign
        own = slice(one.head * width, one.head * width + VOCABULARY)
        v[slots[one.read], own] = np.eye(VOCABULARY)
        out[own, slots[one.write]] = np.eye(VOCABULARY) * (3 / dim) ** 0.5
    if isinstance(layer, RecurrentLayer):
        for name, value in (("q", q), ("k", k), ("v", v)):
            layer.inputs[name].full.kernel[...] = jnp.asarray(value)
        layer.output.kernel[...] = jnp.asarray(out)
        return
    project, join = layer.project, layer.output_projection
    assert isinstance(project, QKVProjection) and isinstance(join, ConcatProjection)
    project.query.kernel[...] = jnp.asarray(q)
    both = columns_by_head(jnp.asarray(k), jnp.asarray(v), project.cached.kv_heads)
    project.key_value.kernel[...] = both
    join.output.kernel[...] = jnp.asarray(out)
