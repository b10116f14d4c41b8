"""A vendor's softmax in the place of ours: it computes output and log-sum-exp, and nothing else.

The derivative rule of the running softmax needs no more than these two, so forward mode, reverse mode and
their compositions are the sums over blocks that they always are.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.block_mask import BlockMask
from attnkit.forms.passes import Passes, pad_axis
from attnkit.forms.vendor.plain import Band
from attnkit.jax_api import Primitive, batching, mlir, shape_like
from attnkit.scored.exponential import Partial

Tree = Any
#: `kernel(q, k, v)` of `[batch, heads, queries, dim]`, `[batch, keys, dim]`, `[batch, keys, value_dim]` gives
#: the output `[batch, heads, queries, value_dim]` and the log-sum-exp `[batch, heads, queries]`
Kernel = Callable[[Any, Any, Any], tuple[Any, Any]]
Mapped = tuple[tuple[bool, ...], ...]


@dataclasses.dataclass(frozen=True)
class DerivativeBlocks(BlockMask):
    """The blocks of the derivatives; a vendor's kernel has its own."""

    @classmethod
    def of(cls, block_mask: BlockMask) -> "DerivativeBlocks":
        """The same blocks."""
        return cls(**{field.name: getattr(block_mask, field.name) for field in dataclasses.fields(BlockMask)})

    def note(self) -> str:
        return "; blocks of the derivatives"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VendorPasses(Passes):
    """Passes of plain attention, whose one fold is the softmax.

    Attributes:
        kernel: the vendor's.
        band: which keys each row has.
        derivatives: passes that compute the sums; found when there is one.
    """

    kernel: Kernel
    band: Band
    derivatives: Callable[[], Passes]

    def fold_rows(
        self,
        start: Callable[[Tree, Tree], Tree],
        step: Callable[[bool], Any],
        shared: Tree,
        rows: Tree,
        columns: Tree,
    ) -> Tree:
        if not isinstance(jax.eval_shape(start, shared, rows), Partial):
            raise TypeError(f"{self.kernel}: computes a softmax, and no other fold")
        queries, keys = self.block_mask.queries, self.block_mask.keys
        q, k, v = rows.q[:queries], columns.k[:keys], columns.v[:keys]
        q, k = q.astype(v.dtype), k.astype(v.dtype)
        output, lse = softmax_p.bind(q, k, v, kernel=self.kernel, sizes=(), mapped=((), (), ()))
        # A sum of marks would be NaN for every row: count those that a row sees.
        count = jnp.cumsum(jnp.pad(jnp.isnan(columns.nonfinite[:keys]), (1, 0)).astype(jnp.int32))
        first, after = self.band.bounds(queries, keys)
        wide = rows.nonfinite.dtype
        bad = rows.nonfinite[:queries] + jnp.where(count[after] > count[first], jnp.nan, 0).astype(wide)
        found = Partial(lse.astype(wide), 1 + bad, output.astype(wide) + bad[:, None])
        return pad_axis(found, self.block_mask.padded[0], "edge")

    def sum_blocks(self, *given: Any, **more: Any) -> Tree:
        return self.derivatives().sum_blocks(*given, **more)


def run_softmax(q: Any, k: Any, v: Any, *, kernel: Kernel, sizes: tuple[int, ...], mapped: Mapped) -> Any:
    """The kernel of all entries of the mapped axes; queries of the last that share keys are its heads."""
    shared = bool(sizes) and not (mapped[1][-1] or mapped[2][-1])
    outer, heads = (sizes[:-1], sizes[-1]) if shared else (sizes, 1)

    def whole(a: Any, own: Sequence[bool], axes: tuple[int, ...]) -> Any:
        own = own[: len(axes)]
        a = jnp.expand_dims(a, [n for n, has in enumerate(own) if not has])
        return jnp.broadcast_to(a, (*axes, *a.shape[len(axes) :]))

    q = whole(q, mapped[0], sizes)
    k, v = whole(k, mapped[1], outer), whole(v, mapped[2], outer)
    q = q.reshape(-1, heads, *q.shape[-2:])
    output, lse = kernel(q, *(a.reshape(-1, *a.shape[-2:]) for a in (k, v)))
    return output.reshape(*sizes, *output.shape[-2:]), lse.reshape(*sizes, lse.shape[-1])


def _batch(arguments: Sequence[Any], axes: Sequence[Any], *, kernel: Kernel, sizes: Any, mapped: Any) -> Any:
    """`vmap`: one more mapped axis, the outermost."""
    has = [isinstance(axis, int) for axis in axes]
    front = [jnp.moveaxis(a, axis, 0) if m else a for m, a, axis in zip(has, arguments, axes, strict=True)]
    size = next(a.shape[0] for m, a in zip(has, front, strict=True) if m)
    more = tuple((m, *own) for m, own in zip(has, mapped, strict=True))
    return softmax_p.bind(*front, kernel=kernel, sizes=(size, *sizes), mapped=more), [0, 0]


def _make_primitive() -> Primitive:
    """The operation, with its rules. It has no derivative; what is made of it has one."""
    made = Primitive("vendor_softmax")
    made.multiple_results = True

    def types(q: Any, k: Any, v: Any, *, kernel: Kernel, sizes: tuple[int, ...], mapped: Mapped) -> list[Any]:
        queries, width = q.shape[-2], v.shape[-1]
        return [
            shape_like((*sizes, queries, width), v.dtype, q),
            shape_like((*sizes, queries), jnp.float32, q),
        ]

    made.def_abstract_eval(types)
    made.def_impl(run_softmax)
    mlir.register_lowering(made, mlir.lower_fun(run_softmax, multiple_results=True))
    batching.primitive_batchers[made] = _batch
    return made


softmax_p = _make_primitive()
