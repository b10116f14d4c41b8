"""Forms of recurrent attention: one file each in the folder `form`, found by listing it."""

import abc
import copy
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.recurrent import form as folder
from attnkit.forms.recurrent.tokens import Tokens
from attnkit.forms.shards import ALONE, Shards
from attnkit.recurrence.contract import (
    LinearRecurrent,
    Order,
    Params,
    Recurrent,
    SteppedRecurrent,
    Transition,
)

Matrix = Float[Array, "dim value_dim"]
Resets = Array | None


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Length of a sequence.

    Attributes:
        tokens: number of tokens, of one device if several share the sequence.
        steps: number of updates of the state by them: several per token for some variants.
        shards: the devices that share the sequence, if several do.
    """

    tokens: int
    steps: int
    shards: Shards | None = None


class Form(abc.ABC):
    """A way of computing recurrences. A file of the folder has one as `FORM`.

    Attributes:
        name: the file's name, and the value of `implementation`.
        rank: `implementation = "auto"` takes the form of lowest rank that supports the variant and does not
            decline.
        compiled_on: platforms on which it is compiled.
        distributed: whether it computes a sequence that several devices share, and only such.
        shards: the devices that share the sequence.
        dtype: of token inputs, before they are widened.
    """

    name: ClassVar[str]
    rank: ClassVar[int]
    compiled_on: ClassVar[tuple[str, ...]] = ("cpu", "gpu", "tpu")
    distributed: ClassVar[bool] = False
    shards: Shards | None = None
    dtype: Any = jnp.float32

    def misplaced(self, sizes: Sizes) -> str | None:
        """Why it cannot compute a sequence that is on one device, or on several; `None` if it can."""
        if sizes.shards is None:
            return ALONE if self.distributed else None
        return None if self.distributed else sizes.shards.whole_needed()

    def over(self, shards: Shards | None, dtype: Any) -> "Form":
        """The form for the devices that share a sequence, and inputs of a type."""
        form = copy.copy(self)
        form.shards, form.dtype = shards, dtype
        return form

    def carry_on(self, compute: Callable[[Any], tuple[Any, Any]], state: Any) -> tuple[Any, Any]:
        """`compute(state)`: results of the tokens that follow `state`, and the state after them."""
        return compute(state)

    def supports(self, variant: Recurrent, sizes: Sizes, platform: str) -> str | None:
        """Why it cannot compute a variant; `None` if it can."""
        own, base = (getattr(cls, self.name, None) for cls in (type(variant), SteppedRecurrent))
        if isinstance(variant, LinearRecurrent) or own is not base:
            return None
        return f"{type(variant).__name__} has an update of its own and no method `{self.name}`"

    def declines(self, sizes: Sizes) -> str | None:
        """Why `auto` passes it over although it could be used; `None` if it does not."""
        return None

    @abc.abstractmethod
    def chunk(self, variant: Recurrent, sizes: Sizes, asked: int | None) -> int:
        """Steps that are computed at once, where a chunk of `asked` is asked for."""

    @abc.abstractmethod
    def run(
        self, q: Float[Array, "tokens dim"], write: Transition, state: Matrix, reset: Resets, order: Order,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:  # fmt: skip
        """The value read by every token of a linear recurrence, and the last state.

        Args:
            q: where tokens read.
            write: the update of the state by each of them.
            state: before the first token.
            reset: tokens before which the state is reset; `None` for none.
            order: the state that is read.
            size: length of a chunk.
        """

    def run_columns(
        self, q: Float[Array, "tokens dim"], write: Transition, state: Matrix, reset: Resets,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:  # fmt: skip
        """`run` where every column of the state has a gate of its own, `write.g [tokens, value_dim]`."""
        assert write.g is not None

        def one(v: Array, g: Array, column: Array) -> tuple[Array, Array]:
            single = Transition(write.k, v[:, None], g[:, None])
            o, last = self.run(q, single, column[:, None], reset, Order(), size)
            return o[:, 0], last[:, 0]

        o, last = jax.vmap(one, in_axes=1, out_axes=1)(write.v, write.g, state)
        return o, last

    @abc.abstractmethod
    def run_stepped(
        self, variant: SteppedRecurrent, p: Params, tokens: Tokens, state: Any, size: int | None = None
    ) -> tuple[Float[Array, "tokens value_dim"], Any]:
        """Outputs and last state of a recurrence with an update of its own."""


def all_forms() -> tuple[Form, ...]:
    """Every form of the folder, in the order in which `auto` tries them."""
    modules = (
        importlib.import_module(f"{folder.__name__}.{entry.name}")
        for entry in pkgutil.iter_modules(folder.__path__)
    )
    return tuple(sorted((module.FORM for module in modules), key=lambda form: form.rank))


def find_form(name: str) -> Form:
    """A form by its name."""
    return next(form for form in all_forms() if form.name == name)


def sizes_of(variant: Recurrent, tokens: int, shards: Shards | None = None) -> Sizes:
    """The sizes of a sequence of `tokens` tokens, on one device or on each of several."""
    return Sizes(tokens, tokens * (variant.substeps if isinstance(variant, LinearRecurrent) else 1), shards)


def supported_forms(variant: Recurrent, tokens: int = 4096, platform: str | None = None) -> tuple[str, ...]:
    """Names of the forms that a variant has on a platform; on that of this machine if none is given."""
    sizes, platform = sizes_of(variant, tokens), platform or jax.default_backend()
    forms = (form for form in all_forms() if form.misplaced(sizes) is None)
    return tuple(form.name for form in forms if form.supports(variant, sizes, platform) is None)
