"""The form that computes a call of attention, and why."""

import dataclasses
import operator
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp

from attnkit.forms import scored as folder
from attnkit.forms.catalogue import find_forms, get_form
from attnkit.forms.scored.blockwise import block_mask_of
from attnkit.forms.shards import AXIS, Shards
from attnkit.forms.sizes import Sizes
from attnkit.scored.contract import Scored
from attnkit.variant import HeadShape


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The computation that `attend` runs, and what it skips.

    Attributes:
        form: name of the form.
        reason: why that one.
        block: queries and keys of a block.
        blocks: how many blocks there are.
        computed: how many of them are computed; the others are proved empty by the mask.
    """

    form: str
    reason: str
    block: tuple[int, int]
    blocks: int
    computed: int

    def __str__(self) -> str:
        return (
            f"{self.form} ({self.reason}): {self.computed} of {self.blocks} blocks of "
            f"{self.block[0]} x {self.block[1]} computed"
        )


def explain(
    variant: Scored,
    queries: int,
    keys: int,
    *,
    offset: SupportsIndex = 0,
    implementation: str = "auto",
    block: tuple[int, int] | None = None,
    devices: int | None = None,
    shape: HeadShape | None = None,
    dtype: Any = jnp.float32,
) -> Explanation:
    """The computation that `attend` runs for these sizes. Raises `ValueError` as `attend` does.

    Args:
        variant: the parts.
        queries: number of queries.
        keys: number of keys.
        offset: position of the first query.
        implementation: as in `attend`.
        block: as in `attend`.
        devices: how many devices share the sequence; `None` for a sequence on one device.
        shape: heads and widths; `None` for the usual powers of two.
        dtype: type of queries, keys and values.
    """
    shards = devices and Shards(AXIS, devices)
    if shards:
        queries, keys = shards.share("queries", queries), shards.share("keys", keys)
    sizes = Sizes(queries, keys, known_offset(offset), block, shape, shards or None, dtype)
    name, reason = choose_form(variant, sizes, implementation)
    form = get_form(folder, name)
    if not hasattr(form, "block_mask_of"):
        return Explanation(name, reason, (queries, keys), 1, 1)
    found = form.block_mask_of(variant, sizes)
    return Explanation(name, reason + found.note(), found.block, found.total, found.computed)


def choose_form(variant: Scored, sizes: Sizes, implementation: str) -> tuple[str, str]:
    """Name of a form, and why that one.

    Raises `ValueError` if the form that was asked for cannot compute the variant.
    """
    platform = jax.default_backend()
    if implementation != "auto":
        form = get_form(folder, implementation)
        if reason := on_one_device(form, sizes) or form.supports(variant, sizes, platform):
            raise ValueError(f"implementation = {implementation!r}: {reason}")
        return implementation, "asked for"
    if sizes.shards:
        return choose_distributed(variant, sizes, platform)
    if reason := get_form(folder, "blockwise").supports(variant, sizes, platform):
        raise ValueError(f"block = {sizes.block}: {reason}")
    if block_mask_of(variant, sizes).is_whole:
        return "dense" if sizes.block is None else "blockwise", "short enough for one block"
    why = ["asked for" if sizes.block else "longer than one block"]
    kernels = {
        name: form
        for name, form in find_forms(folder).items()
        if rank(form, platform) and not getattr(form, "DISTRIBUTED", False)
    }
    for name in sorted(kernels, key=lambda name: -rank(kernels[name], platform)):
        if (reason := kernels[name].supports(variant, sizes, platform)) is None:
            return name, "; ".join([*why, f"compiled for {platform}"])
        why.append(f"not {name}: {reason}")
    return "blockwise", "; ".join(why)


def rank(form: Any, platform: str) -> int:
    """How early `auto` takes a form of kernels that are compiled for a platform; 0 if it never does."""
    found: int = getattr(form, "COMPILED_ON", {}).get(platform, 0)
    return found


def choose_distributed(variant: Scored, sizes: Sizes, platform: str) -> tuple[str, str]:
    """Name of a form for a sequence on several devices, and why that one."""
    passed_over: list[str] = []
    here = {
        name: form
        for name, form in find_forms(folder).items()
        if on_one_device(form, sizes) is None and platform in getattr(form, "COMPILED_ON", (platform,))
    }
    for name in sorted(here, key=lambda name: -rank(here[name], platform)):
        if (reason := here[name].supports(variant, sizes, platform)) is None:
            return name, "; ".join(passed_over) or "first choice for several devices"
        passed_over.append(f"not {name}: {reason}")
    raise ValueError(f"no form computes it on several devices: {'; '.join(passed_over)}")


def on_one_device(form: Any, sizes: Sizes) -> str | None:
    """Why a form that needs a whole sequence cannot compute one that several devices share."""
    if sizes.shards is None or getattr(form, "DISTRIBUTED", False):
        return None
    return sizes.shards.whole_needed()


def known_offset(offset: Any) -> int:
    """The position of the first query as an integer, by which blocks are chosen while tracing."""
    if isinstance(offset, jax.core.Tracer):
        raise ValueError(
            f"offset is traced ({jax.typeof(offset)}), but it decides which blocks are computed: give an "
            "integer (`static_argnames` of jax.jit), or decode with a cache and `step`, which takes it"
        )
    return operator.index(offset)
