"""The properties of the layer of a token mixer, whatever it computes."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.chain import Chain, LayerSizes, causal_form, make_chain
from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import different_bits, distance
from attnkit.conformance.suite import Check, Suite
from attnkit.masks.contract import Data, dense
from attnkit.token_mixer import TokenMixer
from attnkit.variant import MapKind

Item = Finding | Unclaimed
COLUMNS = ("full", "step")
EXACT = 1e-12
#: Of a map that is the derivative by the values.
MAP = 1e-10
KINDS = typing.get_args(MapKind)
#: Central differences of step 1e-5 in float64, relative to the size of the derivative and of the loss.
SLOPE = 1e-6
#: Largest error in bfloat16 by the largest entry: two spacings of bfloat16 there, for each layer.
BFLOAT16 = 2.0**-6
#: How many tokens there is no room for.
SHORT = 2
RULER = {(name, "full"): "the ruler that decoding is measured with" for name in ("decoding", "one trace")}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A mixer under test: as it is, and in the form that sees no future, if it has one.

    Attributes:
        whole: the chain of layers that ends with the mixer.
        causal: the same where no position sees the future; `None` if the mixer cannot be that.
        padded: a chain that knows that tokens at `data.scalar["length"]` and beyond do not exist.
        x: tokens, float64.
    """

    whole: Chain
    causal: Chain | None
    padded: Chain
    x: np.ndarray

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Properties that the mixer does not claim."""
        return self.whole.mixer.unclaimed


def cases(mixer: TokenMixer, level: str, sizes: LayerSizes | None) -> Iterator[Subject]:
    """Chains of a mixer, with parameters moved away from where they start."""
    sizes, causal = sizes or LayerSizes(), causal_form(mixer)
    x = np.random.default_rng(3).normal(size=(sizes.batch, sizes.length, sizes.model_dim))
    whole = make_chain(mixer, sizes)
    same = causal is mixer
    yield Subject(
        whole,
        whole if same else None if causal is None else make_chain(causal, sizes),
        make_chain(mixer, sizes, padded=True),
        x,
    )


def decoding(subject: Subject) -> Iterator[Item]:
    """Token by token, and in pieces, decoding gives the numbers of the whole sequence."""
    chain = subject.causal
    if chain is None:
        yield Unclaimed("decoding", "step", "it sees the future, so nothing can be decoded")
        return
    x = subject.x
    true, length = chain.outputs(x), x.shape[1]
    for pieces in ([1] * length, [4, 1, length - 5]):
        got, traces = chain.decode(x, pieces)
        yield Finding("decoding", "step", distance(got, true), EXACT, f"pieces of {pieces}")
        if len(set(pieces)) == 1:
            yield Finding("one trace", "step", float(traces - 1), 0, "traces beyond the first")


def room(subject: Subject) -> Iterator[Item]:
    """Tokens beyond the room that decoding was given come out right, or as NaN, or are refused."""
    chain, x = subject.causal, subject.x
    if chain is None:
        yield Unclaimed("room", "step", "it sees the future, so nothing can be decoded")
        return
    true, length = chain.outputs(x), x.shape[1]
    try:
        got, _ = chain.decode(x, [1] * length, room=length - SHORT)
    except ValueError:
        yield Finding("room", "step", 0, EXACT, "refused")
        return
    fine = np.where(np.isnan(got), true, got)
    yield Finding("room", "step", distance(fine, true), EXACT, f"room for {length - SHORT} of {length}")


def causality(subject: Subject) -> Iterator[Item]:
    """A changed token leaves the outputs of earlier positions the same to the bit, and changes its own."""
    chain = subject.causal
    if chain is None:
        yield Unclaimed("causality", "full", "it sees the future")
        return
    before = chain.outputs(subject.x)
    for token in (1, 6, subject.x.shape[1] - 1):
        after = chain.outputs(changed(subject.x, token))
        error = different_bits(after[:, :token], before[:, :token])
        yield Finding("causality", "full", error, 0, f"token {token} changed")
        still = float(different_bits(after[:, token:], before[:, token:]) == 0)
        yield Finding("causality", "full", still, 0, f"token {token} has no effect at all")


def sees(subject: Subject) -> Iterator[Item]:
    """Tokens outside the declared receptive field have no influence."""
    chain = subject.whole
    mask = chain.mixer.receptive_field()
    if mask is None or mask.needs() or mask.heads() is not None:
        yield Unclaimed(
            "receptive field", "full", "says nothing that does not depend on run-time data or heads"
        )
        return
    length = subject.x.shape[1]
    seen = np.asarray(dense(mask, np.arange(length), np.arange(length)))
    seen = np.linalg.matrix_power(seen.astype(int) + np.eye(length, dtype=int), len(chain.layers)) > 0
    before = chain.outputs(subject.x)
    influences = 0
    for token in (0, 5, length - 1):
        after = chain.outputs(changed(subject.x, token))
        blind, others = ~seen[:, token], seen[:, token] & (np.arange(length) != token)
        influences += different_bits(after[:, others], before[:, others]) > 0
        yield Finding(
            "receptive field",
            "full",
            different_bits(after[:, blind], before[:, blind]),
            0,
            f"token {token} changed",
        )
    if np.any(seen & ~np.eye(length, dtype=bool)):
        alone = "no token has an effect on another; are heads taken for tokens?"
        yield Finding("receptive field", "full", float(not influences), 0, alone)


def padding(subject: Subject) -> Iterator[Item]:
    """Tokens that do not exist have no influence, whatever they hold; nor has their number."""
    chain, x = subject.padded, subject.x
    real = x.shape[1] - 4
    data = Data(scalar={"length": jnp.full(x.shape[0], real)})
    true = chain.outputs(x, data)[:, :real]
    for name, rubbish in (("large", 1e3), ("nan", np.nan)):
        other = x.copy()
        other[:, real:] = rubbish
        got = chain.outputs(other, data)[:, :real]
        yield Finding("padding", "full", distance(got, true), EXACT, f"{name} tokens beyond the length")
    short = chain.outputs(x[:, :real], data)
    yield Finding("padding", "full", distance(true, short), EXACT, "without them")


def looking(subject: Subject) -> Iterator[Item]:
    """Looking changes no bit of the output, with dropout neither."""
    for key in (None, jax.random.key(5)):
        blind = subject.whole.outputs(subject.x, key=key)
        seen = subject.whole.look_inside(subject.x, key).output
        name = "without dropout" if key is None else "with a dropout key"
        yield Finding("looking", "full", different_bits(seen, blind), 0, name)


def maps(subject: Subject) -> Iterator[Item]:
    """The map is the derivative of the heads' outputs by their values, and of its declared kind."""
    yield from map_findings(subject.whole, subject.x)


def map_findings(
    chain: Chain, x: np.ndarray, data: Data | None = None, *, quick: bool = True
) -> Iterator[Item]:
    """`maps` of one chain; with `quick`, its program is compiled without optimization."""
    noted, missing = chain.notes(x, data)
    if "weights" in missing:
        yield Unclaimed("maps", "full", missing["weights"])
        return
    found, moved = chain.map_derivative(x, data, quick=quick)
    w, sums = found["weights"], "bhijd,bhjd->bhid" if found["weights"].ndim == 5 else "bhij,bhjd->bhid"
    made, size = np.einsum(sums, w, moved["values"]), np.abs(moved["weighted_values"]).max()
    yield Finding("maps", "full", float(size == 0), 0, "values have no effect")
    yield Finding("maps", "full", distance(made, moved["weighted_values"]), MAP, "map times change of values")
    kind = noted.get("weights", "none")
    yield Finding("maps", "full", float(kind not in KINDS), 0, f"kind of the map is {kind!r}")
    if kind in ("distribution", "share"):
        yield Finding("maps", "full", float(max(-w.min(), 0)), EXACT, f"kind is {kind!r}: negative weight")
    if kind == "distribution":
        total = w.sum(axis=3)
        off = np.where(total == 0, 0, np.abs(total - 1)).max()
        yield Finding("maps", "full", float(off), 1e-6, "kind is 'distribution': a row's sum less 1")


def gradients(subject: Subject) -> Iterator[Item]:
    """Every parameter matters, and its derivative is that of differences along a random direction."""
    chain, x = subject.whole, subject.x
    loss, slopes = chain.slopes(x)
    for name, (grad, ahead, behind, direction, step) in slopes.items():
        bad = float((~np.isfinite(grad)).sum())
        yield Finding("gradients", "full", bad, 0, f"entries of {name} that are not finite")
        exact, rough = float((grad * direction).sum()), (ahead - behind) / (2 * step)
        size = max(abs(exact), np.linalg.norm(grad) * np.linalg.norm(direction) * 1e-2, 1e-8 * abs(loss))
        yield Finding("gradients", "full", abs(exact - rough) / size, SLOPE, name)
        yield Finding("gradients", "full", float(not np.any(grad)), 0, f"{name} never matters")


def without_jit(subject: Subject) -> Iterator[Item]:
    """Compiled or not, the numbers are the same; twice the same call, the same bits."""
    chain, x = subject.whole, subject.x
    once = chain.outputs(x)
    yield Finding("same bits twice", "full", different_bits(chain.outputs(x), once), 0)
    yield Finding("without jit", "full", distance(chain.outputs(x, jit=False), once), EXACT)


def alone(subject: Subject) -> Iterator[Item]:
    """Sequences of a batch know nothing of each other."""
    chain, x = subject.whole, subject.x
    together = chain.outputs(x)
    other = x.copy()
    other[1:] = np.random.default_rng(8).normal(size=other[1:].shape)
    yield Finding("batch", "full", different_bits(chain.outputs(other)[0], together[0]), 0, "others changed")
    turned = chain.outputs(x[::-1].copy())[::-1]
    yield Finding("batch", "full", distance(turned, together), EXACT, "in another order")


def low_precision(subject: Subject) -> Iterator[Item]:
    """In bfloat16 the output is of that type, and near that of float64 at the same tokens and parameters."""
    chain = subject.whole.rounded()
    x = np.asarray(jnp.asarray(subject.x, jnp.bfloat16)).astype(np.float64)
    true, got = chain.outputs(x), chain.outputs(jnp.asarray(x, jnp.bfloat16))
    error = np.abs(got.astype(np.float64) - true).max() / np.abs(true).max()
    yield Finding(
        "bfloat16", "full", float(error), len(chain.layers) * BFLOAT16, "largest error by largest entry"
    )
    yield Finding("bfloat16", "full", float(got.dtype != jnp.bfloat16), 0, f"output is {got.dtype}")


def changed(x: np.ndarray, token: int) -> np.ndarray:
    """The tokens with one of them another."""
    other = x.copy()
    other[:, token] = np.random.default_rng(token).normal(size=other[:, token].shape)
    return other


CHECKS: Mapping[str, Check] = {
    "decoding": decoding,
    "room": room,
    "causality": causality,
    "receptive field": sees,
    "padding": padding,
    "looking": looking,
    "maps": maps,
    "gradients": gradients,
    "without jit": without_jit,
    "batch": alone,
    "bfloat16": low_precision,
}
#: `quick` adds what a layer sees to decoding and derivatives; `full` adds the batch, bits and bfloat16.
LAYERS = Suite(
    columns=COLUMNS,
    checks=CHECKS,
    levels={"brief": ("decoding", "gradients"), "quick": tuple(CHECKS)[:8], "full": tuple(CHECKS)},
    cases=cases,
    float64=True,
    otherwise="follows from decoding, which gives the same numbers",
    reasons=lambda subject: RULER,
)
