"""The door of the engine: one function for every scored variant and every form."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.blockwise import blockwise
from attnkit.forms.plan import Plan, cut, make_plan, tiling
from attnkit.forms.problem import Problem, make_heads, prepare_inputs, prepare_keys
from attnkit.forms.reference import mixing_weights, reference
from attnkit.masks.contract import Data, Needs, check_data
from attnkit.scored.contract import Params, Scored
from attnkit.variant import HeadShape

Form = Literal["auto", "reference", "blockwise"]


class Attended(NamedTuple):
    """What attention gives.

    Attributes:
        output: `[heads, queries, value_dim]`, in the type of the values.
        level: `[heads, queries]`, at least float32 and differentiable: for softmax the log-sum-exp of the
            allowed scores, for other normalizers their own level; -inf for a query without keys.
    """

    output: Float[Array, "heads queries value_dim"]
    level: Float[Array, "heads queries"]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Which computation `attend` runs, and what it skips.

    Attributes:
        form: `reference`, `dense` (one block, weights kept for the backward pass) or `blockwise`.
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
    scored: Scored,
    queries: int,
    keys: int,
    *,
    offset: int = 0,
    form: Form = "auto",
    block: tuple[int, int] | None = None,
) -> Explanation:
    """What `attend` would run for these sizes."""
    plan = plan_for(scored, queries, keys, offset, block)
    if form == "reference":
        return Explanation("reference", "asked for", (queries, keys), 1, 1)
    reason = "asked for" if block else "short enough for one block" if plan.whole else "longer than one block"
    name = "dense" if plan.whole else "blockwise"
    return Explanation(name, reason, plan.block, plan.grid[0] * plan.grid[1], plan.computed)


def attend(
    scored: Scored,
    params: Mapping[str, Params],
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    v: Float[Array, "kv_heads keys value_dim"],
    *,
    inputs: Mapping[str, Float[Array, "heads tokens width"]] | None = None,
    data: Data | None = None,
    offset: int = 0,
    key: jax.Array | None = None,
    form: Form = "auto",
    block: tuple[int, int] | None = None,
) -> Attended:
    """Scored attention of one sequence. Batch with `jax.vmap`.

    Args:
        scored: the variant.
        params: its learned parameters, as from `scored.init`.
        q: queries; each group of `heads / kv_heads` consecutive heads shares a key-value head.
        k: keys, at positions 0, 1, ...
        v: values.
        inputs: projected token inputs, as declared by `scored.inputs`; for those of both sides
            queries and keys must be the same tokens.
        data: run-time data of the mask and the parts (see their `needs`).
        offset: position of the first query.
        key: random key for dropout; `None` for no dropout.
        form: `auto` or `blockwise` compute by blocks (one block if the problem is short, see `explain`);
            `reference` computes the definition.
        block: queries and keys of a block, instead of the default choice.

    Returns:
        Output and level. Rows whose keys are all masked give zeros.

    Raises:
        ValueError: if shapes, inputs or mask data do not fit together.
    """
    raw, data = dict(inputs or {}), arrays(data)
    check(scored, q, k, v, data, Needs())
    if form == "auto" or form == "blockwise":
        plan = plan_for(scored, q.shape[1], k.shape[1], offset, block)
    elif form != "reference":
        raise ValueError(f"form = {form!r}: expected 'auto', 'reference' or 'blockwise'")
    i, j = offset + jnp.arange(q.shape[1]), jnp.arange(k.shape[1])
    sides = split_inputs(scored, prepare_inputs(scored, raw), i)
    heads = make_heads(scored, params, q, prepare_keys(scored, k, j, data), v, i, j, *sides, data, key)

    def one(problem: Problem) -> tuple[Array, Array]:
        if form == "reference":
            return reference(scored, problem)
        return blockwise(scored, plan, problem)

    output, level = heads.run(one)
    return Attended(output.astype(v.dtype), level)


def look(
    scored: Scored,
    params: Mapping[str, Params],
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    *,
    inputs: Mapping[str, Float[Array, "heads tokens width"]] | None = None,
    data: Data | None = None,
    offset: int = 0,
) -> Float[Array, "heads queries keys"]:
    """The attention weights that `attend` uses, before dropout, computed beside it for looking inside."""
    i, j, data = offset + jnp.arange(q.shape[1]), jnp.arange(k.shape[1]), arrays(data)
    sides = split_inputs(scored, prepare_inputs(scored, dict(inputs or {})), i)
    heads = make_heads(scored, params, q, prepare_keys(scored, k, j, data), k, i, j, *sides, data, None)
    return heads.run(lambda problem: mixing_weights(scored, problem))


def plan_for(scored: Scored, queries: int, keys: int, offset: int, block: tuple[int, int] | None) -> Plan:
    """The plan for the block asked for; if none is, all keys are in one block where a part must see them."""
    if block is None and any(part.whole for part in scored.position):
        block = (cut(queries, tiling().steps[0][0]), keys or 1)
    return make_plan(scored.mask, queries, keys, offset, block)


def split_inputs(
    scored: Scored, ready: Mapping[str, Array], i: Int[Array, "queries"]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Token inputs by the side that they belong to; those of both sides to both."""
    needs = scored.inputs(HeadShape(1, 1, 1))
    rows, columns = {}, {}
    for name, value in ready.items():
        if needs[name].side in ("key", "both"):
            columns[name] = value
        if needs[name].side == "query":
            rows[name] = value
        if needs[name].side == "both":
            rows[name] = jnp.take(value, i, axis=1)
    return rows, columns


def arrays(data: Data | None) -> Data:
    """Run-time data as JAX arrays."""
    return jax.tree.map(jnp.asarray, data or Data())


def check(scored: Scored, q: Array, k: Array, v: Array, data: Data, known: Needs) -> None:
    """Raise `ValueError` if the arguments of `attend` do not fit together. Data in `known` may be missing."""
    if q.ndim != 3 or k.ndim != 3 or v.ndim != 3:
        shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
        raise ValueError(f"{shapes}: each must be [heads, tokens, dim] of one sequence; batch with jax.vmap")
    if q.shape[2] != k.shape[2]:
        raise ValueError(f"q has dim {q.shape[2]} and k has dim {k.shape[2]}; they must be equal")
    if k.shape[:2] != v.shape[:2]:
        raise ValueError(f"k {k.shape} and v {v.shape} must have the same kv_heads and keys")
    if q.shape[0] % k.shape[0]:
        raise ValueError(f"heads = {q.shape[0]} must be a multiple of kv_heads = {k.shape[0]}")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q is {q.dtype}, k is {k.dtype}, v is {v.dtype}; cast them to one type")
    for reader in (scored.mask, *scored.parts().values()):
        check_data(reader, data, known)
    heads = scored.mask.heads()
    if heads is not None and heads != q.shape[0]:
        raise ValueError(f"the mask distinguishes {heads} heads but q has {q.shape[0]}")
