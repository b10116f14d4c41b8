"""One attention problem as block loops see it: prepared, cleaned, sorted by what may be differentiated."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.dropout import kept, seeds
from attnkit.masks.contract import Data
from attnkit.scored.contract import HEADS, Params, Position, Scored
from attnkit.scored.order import mix_values, prepare_key, prepare_query, walk_logits
from attnkit.variant import HeadShape

Tree = Any


class Problem(NamedTuple):
    """The arrays of one head, in three dictionaries.

    Attributes:
        floats: what may be differentiated: `p` (parameters by part), `row` (`q` and query-side token inputs
            `x`), `column` (`k`, `v` and key-side token inputs `x`).
        fixed: what may not: `p` (constants by part), `row` (`i`, `bad`, mask data), `column` (`j`, `bad`,
            mask data, `real`), `data` (scalar mask data), with dropout `seed`, and in `row`, once surveyed,
            the facts that selections found (`facts`).
    """

    floats: Tree
    fixed: Tree


class Heads(NamedTuple):
    """All heads' arrays, sorted by their leading axis, and how to run one head's function over them."""

    query: Tree
    group: Tree
    shared: Tree
    shape: HeadShape

    def run(self, function: Callable[[Problem], Tree]) -> Tree:
        """`function` of every head's problem, results stacked on a leading axis of `heads`."""
        heads, kv_heads = self.shape.heads, self.shape.kv_heads
        each = heads // kv_heads

        def one(query: Tree, group: Tree) -> Tree:
            floats, fixed = (join(join(query[n], group[n]), self.shared[n]) for n in (0, 1))
            return function(Problem(floats, fixed))

        if each == 1:
            return jax.vmap(one, axis_name=HEADS)(self.query, self.group)
        grouped = jax.tree.map(lambda a: a.reshape(kv_heads, each, *a.shape[1:]), self.query)
        over_group = jax.vmap(one, in_axes=(0, None))
        result = jax.vmap(over_group)(grouped, self.group)
        return jax.tree.map(lambda a: a.reshape(heads, *a.shape[2:]), result)


def join(a: Tree, b: Tree) -> Tree:
    """The union of two nested dictionaries with different leaves."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return {key: join(a[key], b[key]) if key in a and key in b else {**a, **b}[key] for key in {**a, **b}}
    raise ValueError("two arrays under one name")


def make_heads(
    scored: Scored,
    params: Mapping[str, Params],
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    v: Float[Array, "kv_heads keys value_dim"],
    i: Int[Array, "queries"],
    j: Int[Array, "keys"],
    row_inputs: Mapping[str, Array],
    column_inputs: Mapping[str, Array],
    data: Data,
    key: jax.Array | None,
) -> Heads:
    """Gather the arrays of all heads.

    Keys must be prepared already (`prepare_key`); queries are prepared here. A query, key or value row that
    is not finite is replaced by zeros and marked `bad`: its scores become NaN where they are allowed, so a
    NaN is never lost, and never reaches a result through a masked pair.
    """
    if q.shape[0] % k.shape[0] == 0 and scored_mixes_heads(scored) and q.shape[0] != k.shape[0]:
        k, v = (jnp.repeat(a, q.shape[0] // a.shape[0], axis=0) for a in (k, v))
    shape = HeadShape(q.shape[0], q.shape[2], v.shape[2], k.shape[0])
    wide = jnp.promote_types(q.dtype, jnp.float32)
    constants = jax.tree.map(lambda a: cast(jnp.asarray(a), wide), scored.constants(shape))
    constants = {part: {**own, "head": jnp.arange(shape.heads)} for part, own in constants.items()}
    learned = jax.tree.map(lambda a: cast(a, wide), {part: dict(own) for part, own in params.items()})
    merged = {part: {**own, **learned.get(part, {})} for part, own in constants.items()}
    (q, bad_i), (k, bad_k), (v, bad_v) = clean(q), clean(k), clean(v)
    if changes(scored, "query"):
        q, bad_turned = clean(jax.vmap(lambda p, rows: prepare_query(scored, p, rows, i, data))(merged, q))
        bad_i = bad_i + bad_turned
    needs = scored.inputs(shape)

    def apart(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: a for name, a in inputs.items() if not needs[name].shared}

    def common(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: a[0] for name, a in inputs.items() if needs[name].shared}

    query_floats = {
        "p": learned,
        "row": {"q": q, "x": apart(row_inputs)},
        "column": {"x": apart(column_inputs)},
    }
    query_fixed: dict[str, Any] = {"p": constants, "row": {"bad": bad_i}}
    if key is not None and scored.dropout:
        query_fixed["seed"] = seeds(key, shape.heads)
    if key is not None:
        for n, (part, own) in enumerate(constants.items()):
            if scored.parts()[part].random:
                own["seed"] = seeds(jax.random.fold_in(key, n + 1), shape.heads)
    return Heads(
        query=(query_floats, query_fixed),
        group=({"column": {"k": k, "v": v}}, {"column": {"bad": bad_k + bad_v}}),
        shared=(
            {"row": {"x": common(row_inputs)}, "column": {"x": common(column_inputs)}},
            {"row": {"i": i, "data": data.query}, "column": {"j": j, "data": data.key}, "data": data.scalar},
        ),
        shape=shape,
    )


def scored_mixes_heads(scored: Scored) -> bool:
    """Whether some part needs the scores of other heads."""
    return any(part.mixes_heads for part in scored.parts().values())


def cast(a: jax.Array, dtype: Any) -> jax.Array:
    """Floating arrays in the type that scores are computed in; others unchanged."""
    return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a


def clean(a: Float[Array, "heads tokens width"]) -> tuple[Array, Float[Array, "heads tokens"]]:
    """Rows that are not finite as zeros; and for each row 0 if it was finite, NaN if not.

    A sum of products with 0 says so in one pass of floating-point arithmetic.
    """
    wide = jnp.promote_types(a.dtype, jnp.float32)
    bad = jnp.sum(0 * jax.lax.stop_gradient(a).astype(wide), axis=-1)
    return jnp.where((bad == 0)[..., None], a, 0), bad


def block_data(problem: Problem) -> Data:
    """The run-time data of one block."""
    fixed = problem.fixed
    head = fixed["p"]["score"]["head"]
    return Data(fixed["row"]["data"], fixed["column"]["data"], fixed["data"], head)


def bind(problem: Problem) -> dict[str, dict[str, Any]]:
    """Each part's dictionary `p` for one block: constants, parameters, and token inputs of this block."""
    fixed = problem.fixed
    data = block_data(problem)
    p = {part: {**own, **problem.floats["p"].get(part, {}), "data": data} for part, own in fixed["p"].items()}
    for side, suffix in (("row", "_i"), ("column", "_j")):
        for name, value in problem.floats[side]["x"].items():
            part, key = name.split(".")
            p[part][key + suffix] = value
    return p


def block_logits(scored: Scored, problem: Problem) -> Float[Array, "queries keys"]:
    """Capped scores of a block; NaN where a query, key or value was not finite."""
    return block_walk(scored, problem, None, {})[0]


def block_walk(
    scored: Scored, problem: Problem, keep: Any, ahead: Mapping[str, Any]
) -> tuple[Float[Array, "queries keys"], dict[str, Any]]:
    """Capped scores of a block that depend on what is known of later keys (`ahead`); and that, updated."""
    floats, fixed = problem
    row, column = fixed["row"], fixed["column"]
    q, k = floats["row"]["q"], floats["column"]["k"]
    s, ahead = walk_logits(scored, bind(problem), q, k, row["i"], column["j"], keep, ahead)
    return s.astype(row["bad"].dtype) + block_bad(problem), ahead


def block_bad(problem: Problem) -> Float[Array, "queries keys"]:
    """0, or NaN where a query, key or value was not finite. Weights found by comparing scores need it too."""
    return problem.fixed["row"]["bad"][:, None] + problem.fixed["column"]["bad"][None, :]


def block_keep(scored: Scored, problem: Problem) -> Array:
    """Which pairs of a block may attend."""
    row, column = problem.fixed["row"], problem.fixed["column"]
    i, j = row["i"][:, None], column["j"][None, :]
    allowed = scored.mask.allows(i, j, block_data(problem).over_pairs())
    keep = jnp.broadcast_to(allowed, (i.shape[0], j.shape[1]))
    keep = keep & column["real"][None, :] if "real" in column else keep
    facts, hiding = row.get("facts", {}), [part.hides for part in scored.position]
    if not facts and not any(hiding):
        return keep
    p, q, k = jax.lax.stop_gradient(
        (bind(problem), problem.floats["row"]["q"], problem.floats["column"]["k"])
    )
    given = (q, k, row["i"], column["j"])
    shown = [part.shows(p[f"position_{n}"], *given) for n, part in enumerate(scored.position) if hiding[n]]
    shown += [
        part.chosen(p[name], *given, facts[name])
        for n, part in enumerate(scored.selection)
        if (name := f"selection_{n}") in facts
    ]
    # What is not finite cannot be compared, and must not get lost.
    return keep & (functools.reduce(operator.and_, shown) | jnp.isnan(block_bad(problem)))


def block_mix(
    scored: Scored, problem: Problem, w: Float[Array, "queries keys"]
) -> Float[Array, "queries value_dim"]:
    """The weighted values of a block, after dropout."""
    row, column = problem.fixed["row"], problem.fixed["column"]
    if "seed" in problem.fixed:
        survives = kept(problem.fixed["seed"], scored.dropout, row["i"], column["j"])
        w = jnp.where(survives, w / (1 - scored.dropout), 0)
    floats, i, j = problem.floats, row["i"], column["j"]
    return mix_values(scored, bind(problem), w, floats["column"]["v"], floats["row"]["q"], i, j)


def changes(scored: Scored, method: Literal["query", "key"]) -> bool:
    """Whether some position part defines how queries or keys are prepared."""
    return any(getattr(type(part), method) is not getattr(Position, method) for part in scored.position)


def prepare_inputs(
    scored: Scored, raw: Mapping[str, Array], start: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """Activated, and where declared summed, token inputs `{part.input: [heads, tokens, width]}`.

    Args:
        scored: the variant.
        raw: projected inputs of consecutive tokens.
        start: running sums before the first of these tokens, `[heads, width]`; zero if not given.

    Raises:
        ValueError: if one is missing, or one that all heads share has more than one head.
    """
    shape = HeadShape(1, 1, 1)
    needs = scored.inputs(shape)
    missing = sorted(set(needs) - set(raw))
    if missing:
        raise ValueError(f"inputs lacks {', '.join(missing)}; give one [heads, tokens, width] array for each")
    ready = {}
    for name, need in needs.items():
        if need.shared and len(raw[name]) != 1:
            raise ValueError(
                f"inputs[{name!r}] has {len(raw[name])} heads; all share it: give [1, tokens, width]"
            )
        value = scored.activate(name, raw[name])
        if need.cumulative:
            value = jnp.cumsum(value.astype(jnp.promote_types(value.dtype, jnp.float32)), axis=1)
            value = value if start is None else value + start[name][:, None]
        ready[name] = value
    return ready


def prepare_keys(
    scored: Scored, k: Float[Array, "kv_heads keys dim"], j: Int[Array, "keys"], data: Data
) -> Array:
    """Keys of all heads as the score and the cache see them.

    A key that is not finite is prepared as zeros and comes out as NaN, so that no derivative of the
    preparation sees it.
    """
    if not changes(scored, "key"):
        return k
    finite, bad = clean(k)
    ready = jax.vmap(lambda rows: prepare_key(scored, rows, j, data))(finite)
    return jnp.where(jnp.isnan(bad)[..., None], jnp.nan, ready)
