"""The delta rule with normalized keys, shared by its variants."""

import abc

import jax
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import ConvSize, Inputs, LinearRecurrent, Norm, Params, Transition
from attnkit.recurrence.l2_normalize import l2_normalize
from attnkit.variant import HeadShape, TokenInput


@options
class DeltaRule(LinearRecurrent, abc.ABC):
    """`S_t = S' + beta_t k_t (v_t - k_t^T S')^T` with `|k_t| = 1` and the decayed state `S'`.

    Attributes:
        negative: whether beta reaches 2 instead of 1: eigenvalues of `I - beta k k^T` then reach -1
            (Grazzi et al. 2024, arXiv 2411.12537).
        conv_size: taps of the causal convolution of queries, keys and values; 0 for none.
        norm: norm of each head's output.
    """

    negative: bool = False
    conv_size: ConvSize = 4
    norm: Norm = "rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        n = self.substeps
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(n * shape.dim, conv=True),
            "v": TokenInput(n * shape.value_dim, conv=True),
            "beta": TokenInput(n),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        if name == "beta":
            return jax.nn.sigmoid(raw) * (2 if self.negative else 1)
        return raw if name == "dt" else jax.nn.silu(raw)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return l2_normalize(x["q"]) * float(x["q"].shape[-1] ** -0.5)

    def log_decay(self, p: Params, x: Inputs) -> Float[Array, "tokens decays"] | None:
        """Log decay before the first sub-step of each token; `None` for no decay."""
        return None

    def write(self, p: Params, x: Inputs) -> Transition:
        k = l2_normalize(x["k"])
        return Transition(x["beta"] * k, x["v"], self.log_decay(p, x), a=k)
