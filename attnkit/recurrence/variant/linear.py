"""Linear attention."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, LinearRecurrent, Params, Transition
from attnkit.recurrence.feature.elu_plus_one import EluPlusOne
from attnkit.recurrence.feature_map import FeatureMap, Features
from attnkit.recurrence.stabilizer import running_maximum
from attnkit.recurrence.token_positions import next_positions
from attnkit.variant import Card, HeadShape, Kind, MapKind, TokenInput

LEAST = -1e30


@options
class Linear(LinearRecurrent):
    """Softmax attention with `exp(q . k)` replaced by a scalar product of features.

    The normalizer is one more column of the state, whose values are all 1. A query whose products are all
    zero reads zeros.

    Attributes:
        feature: map of queries and keys.
        normalizer: whether outputs are divided by the sum of the weights.
        forget_gate: whether each token sets a decay `g_t` and writes with weight `1 - g_t`
            (Peng et al. 2021, arXiv 2103.02143, section 3.2).
    """

    card: ClassVar[Card] = Card(
        source="Katharopoulos et al. 2020, arXiv 2006.16236",
        equation="S_t = S_{t-1} + phi(k_t) v_t^T, z_t likewise of ones, o_t = phi(q_t).S_t / phi(q_t).z_t",
        state="heads * features * (value_dim + 1)",
        assumes="with the normalizer, features that are not negative",
    )
    feature: FeatureMap = EluPlusOne()
    normalizer: bool = True
    forget_gate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.forget_gate and self.direction == "both":
            raise ValueError(
                "forget_gate = True needs direction = 'forward': a gate forgets the tokens before"
            )
        if self.feature.scaled and not self.normalizer:
            raise ValueError(
                f"normalizer = False: the scale of {type(self.feature).__name__} does not cancel; "
                "set normalizer = True"
            )

    def map_kind(self) -> MapKind:
        return "distribution" if self.normalizer and self.feature.positive else "signed"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
        } | ({"forget_gate": TokenInput(bias=0.0)} if self.forget_gate else {})

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        if self.feature.tied:
            return {f"feature_{n}": a for n, a in self.feature.init(key, shape).items()}
        sides = zip(("query", "key"), jax.random.split(key), strict=True)
        return {f"{side}_{n}": a for side, k in sides for n, a in self.feature.init(k, shape).items()}

    def kind_of(self, name: str) -> Kind:
        return self.feature.kind_of(name.partition("_")[2])

    def random_constants(self, key: jax.Array, shape: HeadShape) -> Params:
        return {f"feature_{n}": a for n, a in self.feature.random_constants(key, shape).items()}

    def redraws(self) -> bool:
        return self.feature.redrawn

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.feature.width(shape.dim), shape.value_dim + self.normalizer

    def _features(self, p: Params, side: str, x: Inputs) -> Features:
        """Features of queries or keys, with the parameters of that side."""
        own = {n.split("_", 1)[1]: a for n, a in p.items() if n.startswith((f"{side}_", "feature_"))}
        return self.feature.features_at(own, x["q" if side == "query" else "k"], x.get("position"))

    def initial_aux_state(self, shape: HeadShape, dtype: Any) -> Any:
        position = (jnp.zeros((), jnp.int32),) if self.feature.positional else ()
        return position + ((jnp.full((), LEAST, dtype),) if self.feature.scaled else ())

    def auxiliary_inputs(
        self, p: Params, x: Inputs, aux_state: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        more: dict[str, Array] = {}
        if self.forget_gate:
            more = {"log_decay": jax.nn.log_sigmoid(x["forget_gate"])}
            more |= {"scale": jax.nn.sigmoid(-x["forget_gate"])}
        after = list(aux_state)
        if self.feature.positional:
            more["position"], after[0] = next_positions(aux_state[0], real)
        if self.feature.scaled:
            level = self._features(p, "key", {**x, **more}).log_scale
            assert level is not None
            gate = jnp.zeros_like(level)
            if self.forget_gate:
                gate = jnp.where(real, more["log_decay"][:, 0], 0)
                level = level + jax.nn.log_sigmoid(-x["forget_gate"])[:, 0]
            level = jnp.where(real, level, LEAST)
            top, before, after[-1] = running_maximum(level, gate, aux_state[-1], reset, LEAST)
            if self.direction == "both":  # one maximum for both passes over a document
                none, start = jnp.zeros_like(level), jnp.asarray(LEAST, level.dtype)
                so_far, _, _ = running_maximum(level, none, start, reset, LEAST)
                ended = jnp.roll(reset[::-1], 1).at[:1].set(False)
                top = running_maximum(so_far[::-1], none, start, ended, LEAST)[0][::-1]
                before = top
            decay = jnp.minimum(gate + before - top, 0)
            more |= {"log_decay": decay[:, None], "scale": jnp.exp(level - top)[:, None]}
        return more, tuple(after)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens features"]:
        return self._features(p, "query", x).values

    def write(self, p: Params, x: Inputs) -> Transition:
        v = x["v"]
        if self.normalizer:
            v = jnp.concatenate([v, jnp.ones_like(v[:, :1])], axis=-1)
        k = self._features(p, "key", x).values
        return Transition(x["scale"] * k if "scale" in x else k, v, x.get("log_decay"))

    def readout(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        if not self.normalizer:
            return o
        total = o[:, -1:]
        return jnp.where(total == 0, 0, o[:, :-1] / jnp.where(total == 0, 1, total))
