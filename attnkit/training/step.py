"""One update as a pure function of (state, batch, hyperparameters), and many updates in one dispatch."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from attnkit.forms.sharing import sharing
from attnkit.layers.contract import TokenMixerLayer
from attnkit.models.contract import Batch
from attnkit.training.devices import EXAMPLES, SEQUENCE, TENSOR
from attnkit.training.finite import all_finite, choose, global_norm
from attnkit.training.objective import Sums, errors, per_weight, sums
from attnkit.training.optimizer import Hyperparameters, hyperparameters, schedule, transform
from attnkit.training.parameters import kinds
from attnkit.training.plan import Optimizer, Training
from attnkit.training.sharding import fsdp_specs, layout, place, reader, sum_over
from attnkit.training.spikes import ratios, watch

Params = Any
SLICE = 256


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything a run needs to go on: a pytree.

    Attributes:
        params: the network's parameters, float32.
        constants: the network's other variables, which no step changes.
        optimizer: optax's state.
        step: batches used so far; also the number of the next batch.
        key: dropout key of the run; a step uses `fold_in(key, step)`.
        skipped: steps left out so far because something was not finite, or a spike.
        streak: how many of them directly before this state.
        halted: whether the last step attempted must not be passed over. A halted state steps no further.
    """

    params: Params
    constants: Any
    optimizer: Any
    step: Int[Array, ""]
    key: Key[Array, ""]
    skipped: Int[Array, ""]
    streak: Int[Array, ""]
    halted: Bool[Array, ""]


class Metrics(NamedTuple):
    """Metrics of one step.

    Attributes:
        loss: mean loss of a place to predict at, without smoothing and penalties.
        gradient_norm: global norm of the gradient before clipping.
        learning_rate: the rate of this update.
        tokens: how many tokens counted; their summed weight.
        made: whether the update was made.
        halted: whether the state stays where it was, for good.
    """

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    tokens: Float[Array, ""]
    made: Bool[Array, ""]
    halted: Bool[Array, ""]


Step = Callable[[State, Batch, Hyperparameters], tuple[State, Metrics]]


def split(network: nnx.Module) -> tuple[nnx.GraphDef, Params, Any]:
    """The network as (graph, parameters, constants): its structure, and two pytrees of plain arrays."""
    graph, *states = nnx.split(network, nnx.Param, ...)
    params, constants = states
    return graph, _plain(params), _plain(constants)


def _plain(variables: Any) -> Any:
    return jax.tree.map(
        lambda variable: variable.get_value(), variables, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)
    )


def rule(
    graph: nnx.GraphDef,
    params: Params,
    constants: Any,
    training: Training,
    optimizer: Optimizer,
    hyper: Hyperparameters,
) -> optax.GradientTransformationExtraArgs:
    """The transformation of gradients for the parameters of a network; it wants what is `seen` by `watch`."""
    found = transform(optimizer, kinds(nnx.merge(graph, params, constants)), hyper)
    return optax.with_extra_args_support(optax.chain(watch(), found) if training.spike_factor else found)


def begin(
    graph: nnx.GraphDef,
    params: Params,
    constants: Any,
    training: Training,
    optimizer: Optimizer,
    mesh: Mesh | None = None,
) -> State:
    """The state before the first step, laid out on the `mesh` if there is one.

    It copies the arrays, since steps reuse the memory of their input.
    """
    # With their types given, no array is weakly typed, which would compile the second dispatch anew.
    params = jax.tree.map(lambda a: jnp.array(a, a.dtype), params)
    init = rule(graph, params, constants, training, optimizer, hyperparameters(optimizer)).init
    if mesh is not None:
        params = place(params, mesh)
    where = None if mesh is None else layout(jax.eval_shape(init, params), mesh)
    moments = jax.jit(init, out_shardings=where)(params)
    state = State(
        params=params,
        constants=jax.tree.map(jnp.array, constants),
        optimizer=moments,
        step=jnp.int32(0),
        key=jax.random.key(training.seed),
        skipped=jnp.int32(0),
        streak=jnp.int32(0),
        halted=jnp.bool_(False),
    )
    return state if mesh is None else place(state, mesh)


def set_attributes(network: nnx.Module, values: Mapping[str, Array]) -> None:
    """Replace numbers that are attributes of modules, by their paths such as `decoder/blocks/0/rate`."""
    for path, value in values.items():
        module: Any = network
        *steps, name = path.split("/")
        for step in steps:
            module = module[int(step)] if step.isdigit() else getattr(module, step)
        # Set past nnx, which tells attributes from data when a module is made.
        vars(module)[name] = value


def cast(params: Params, precision: str) -> Params:
    """Parameters as the network computes with them: floating leaves in `precision`."""
    dtype = jnp.dtype(precision)
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, params)


def count_slices(training: Training, batch_size: int, tokens: int) -> int:
    """How many slices one device cuts its `batch_size` sequences of `tokens` tokens in all into.

    If the plan says how many the whole batch is cut into, no slice is larger than one of those. Otherwise,
    what a slice computes stays in a core's cache, worth more on CPUs than the products of a whole batch.
    """
    if training.accumulate:
        most = max(training.batch_size // training.accumulate, 1)
        return min(n for n in range(1, batch_size + 1) if batch_size % n == 0 and batch_size // n <= most)
    return cache_slices(batch_size, tokens)


def cache_slices(batch_size: int, tokens: int, cores: int = 1) -> int:
    """How many slices leave `SLICE` tokens for each of the `cores` in each; 1 if this is no CPU."""
    if jax.default_backend() != "cpu":
        return 1
    whole = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
    return max(n for n in whole if n * SLICE * cores <= max(tokens, SLICE * cores))


def longest(batch: Batch) -> int:
    """Tokens of the longer side of an example: its input or its output."""
    return max(batch[name].shape[1] for name in ("weights", "source", "source_features") if name in batch)


def redrawn(graph: nnx.GraphDef, params: Params, constants: Any, key: Array) -> Any:
    """The constants of a step, with those drawn anew that layers draw at every step."""
    network = nnx.merge(graph, params, constants)
    layers = [layer for _, layer in nnx.iter_modules(network) if isinstance(layer, TokenMixerLayer)]
    for n, layer in enumerate(layers):
        layer.redraw(jax.random.fold_in(key, n))
    return split(network)[2]


def make_gradient(
    graph: nnx.GraphDef, training: Training, mesh: Mesh | None = None
) -> Callable[..., tuple[Sums, Params]]:
    """`(params, constants, batch, key, hyper) -> (sums, gradient of sums.objective)` for a whole batch.

    The batch is cut into slices whose sums and gradients are added, so the result is that of the whole batch
    however its weights are spread. On a `mesh`, each device along `EXAMPLES` takes its part of the batch, and
    of parameters and gradient the part along `FSDP` that `sharding.layout` says; parameters are gathered
    where the network reads them. Along `SEQUENCE` and `TENSOR`, attention shares tokens and heads, and JAX
    partitions the rest. Every example has a key of its own (`example_keys`), by its place in the whole batch.
    """
    shared = mesh if mesh is not None and mesh.size > 1 else None

    def gradient(
        params: Params, constants: Any, batch: Batch, key: Array, hyper: Hyperparameters
    ) -> tuple[Sums, Params]:
        if shared is None:
            slope = jax.grad(functools.partial(objective, graph, training), has_aux=True)
            return _whole(graph, training, slope, 0, params, constants, batch, key, hyper)
        cut = fsdp_specs(params, shared)
        read = reader(cut, shared, training.precision)
        slope = jax.grad(functools.partial(objective, graph, training, read=read), has_aux=True)

        def own(*given: Any) -> tuple[Sums, Params]:
            return _whole(graph, training, slope, jax.lax.axis_index(EXAMPLES), *given)

        return sum_over(shared, own, cut)(params, constants, batch, key, hyper)

    return gradient


def objective(
    graph: nnx.GraphDef,
    training: Training,
    params: Params,
    constants: Any,
    hyper: Hyperparameters,
    batch: Batch,
    key: Array,
    read: Callable[[nnx.Module], None] | None = None,
) -> tuple[Array, Sums]:
    """The objective of a slice of a batch, and all its sums.

    `read` says how the network reads parameters, if these are cut; otherwise they are whole, and cast.
    """
    network = nnx.merge(graph, params if read else cast(params, training.precision), constants)
    if read:
        read(network)
    set_attributes(network, hyper.attributes)
    smoothing = hyper.label_smoothing if training.label_smoothing else 0.0
    with sharing(SEQUENCE, TENSOR):
        outputs = network(batch, key=key)
    found = sums(errors(outputs, batch, smoothing, training.z_loss), batch["weights"])
    return found.objective, found


def _whole(
    graph: nnx.GraphDef,
    training: Training,
    gradient: Callable[..., tuple[Params, Sums]],
    device: int | Array,
    params: Params,
    constants: Any,
    batch: Batch,
    key: Array,
    hyper: Hyperparameters,
) -> tuple[Sums, Params]:
    """The sums and the gradient of the examples of one device, slice after slice."""
    size = batch["weights"].shape[0]
    slices = count_slices(training, size, size * longest(batch))
    fold_in = jax.vmap(jax.random.fold_in, (None, 0))
    constants = redrawn(graph, params, constants, jax.random.fold_in(key, 0))
    own = fold_in(jax.random.fold_in(key, 1), device * size + jnp.arange(size))
    keys = fold_in(jax.random.fold_in(key, 2), device * slices + jnp.arange(slices))
    batch = {**batch, "example_key": own}
    if slices == 1:
        slope, found = gradient(params, constants, hyper, batch, keys[0])
        return found, slope

    def add(total: tuple[Sums, Params], piece: tuple[Batch, Array]) -> tuple[tuple[Sums, Params], None]:
        slope, found = gradient(params, constants, hyper, *piece)
        return jax.tree.map(jnp.add, total, (found, slope)), None

    pieces = jax.tree.map(lambda x: x.reshape(slices, x.shape[0] // slices, *x.shape[1:]), batch)
    zero = (Sums(*jnp.zeros((3,), jnp.float32)), jax.tree.map(jnp.zeros_like, params))
    total, _ = jax.lax.scan(add, zero, (pieces, keys))
    return total


def make_step(
    graph: nnx.GraphDef, training: Training, optimizer: Optimizer, mesh: Mesh | None = None
) -> Step:
    """The update: pure, not jitted, fit for `jax.vmap` over states and hyperparameters.

    An update is made only if the loss, the gradient's norm, the learning rate and the parameters after it are
    finite, and neither of the first two a spike; otherwise parameters and optimizer state stay as they are to
    the bit.
    """
    gradient = make_gradient(graph, training, mesh)
    limit = training.skip_limit if training.nonfinite == "skip" else 0

    def step(state: State, batch: Batch, hyper: Hyperparameters) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        total, slope = gradient(state.params, state.constants, batch, key, hyper)
        scale = per_weight(total.weight)
        slope = jax.tree.map(lambda leaf: leaf * scale, slope)
        loss, norm = total.loss * scale, global_norm(slope)
        seen = jnp.stack([loss, norm])
        rate = hyper.learning_rate * schedule(optimizer, training.steps, state.step)
        update = rule(graph, state.params, state.constants, training, optimizer, hyper).update
        direction, moments = update(slope, state.optimizer, state.params, seen=seen)
        params = jax.tree.map(lambda leaf, d: leaf - rate * d, state.params, direction)
        finite = jnp.isfinite(jnp.stack([total.objective, norm, rate])).all() & all_finite(params)
        made, most = finite, jnp.int32(limit)
        if training.spike_factor:
            made = finite & ~(ratios(state.optimizer, seen) > training.spike_factor).any()
            most = jnp.where(finite, training.skip_limit, limit)
        streak = jnp.where(made, 0, state.streak + 1)
        halted = streak > most
        new = State(
            params=choose(made, params, state.params),
            constants=state.constants,
            optimizer=choose(made, moments, state.optimizer),
            step=state.step + ~halted,
            key=state.key,
            skipped=state.skipped + (~made & ~halted),
            streak=jnp.where(halted, state.streak, streak),
            halted=halted,
        )
        return new, Metrics(loss, norm, rate, total.weight, made, halted)

    return step


def for_members(step: Step, together: int) -> Step:
    """`step` for a population: each leaf of state, batch, hyperparameters and metrics has an axis of members.

    `together` members are computed at once by `jax.vmap`, the groups one after the other. A member that has
    halted stays as it is while the others go on.
    """

    def one(state: State, batch: Batch, hyper: Hyperparameters) -> tuple[State, Metrics]:
        new, metrics = step(state, batch, hyper)
        return choose(~state.halted, new, state), metrics._replace(halted=state.halted | metrics.halted)

    def all_(state: State, batch: Batch, hyper: Hyperparameters) -> tuple[State, Metrics]:
        if together >= state.halted.shape[0]:
            return jax.vmap(one)(state, batch, hyper)
        found: tuple[State, Metrics] = jax.lax.map(
            lambda member: one(*member), (state, batch, hyper), batch_size=together if together > 1 else None
        )
        return found

    return all_


def make_dispatch(
    step: Step, mesh: Mesh | None = None
) -> Callable[..., tuple[State, Metrics, Int[Array, ""]]]:
    """`(state, batches, count, hyperparameters) -> (state, metrics, attempted)`, jitted, the state donated.

    `batches` are stacked batches, leading axis `capacity`; the first `count` of them are used, one step each,
    until a step halts. `metrics` has the same leading axis, of which `attempted` entries mean something.
    The count is data, not a shape: any number of steps runs in the same program, so nothing compiles again
    at the end of an epoch, and where a dispatch begins or ends cannot change a bit of the result.

    `count` may be one for each device, of which the least holds; if negative, so is `attempted`.

    With the `mesh` that the step was made with, the state stays laid out as `devices.layout` says. The step
    may be that of a population (`for_members`), whose batches have the members behind the steps.
    """

    def dispatch(
        state: State, batches: Batch, count: Int[Array, "*devices"], hyper: Hyperparameters
    ) -> tuple[State, Metrics, Int[Array, ""]]:
        count = jnp.min(count)
        blank = jnp.zeros((jax.tree.leaves(batches)[0].shape[0], *state.halted.shape))
        told = Metrics(*(blank.astype(kind) for kind in (*(jnp.float32,) * 4, bool, bool)))

        def more(carry: tuple[Array, State, Metrics]) -> Array:
            return (carry[0] < count) & ~carry[1].halted.all()

        def once(carry: tuple[Array, State, Metrics]) -> tuple[Array, State, Metrics]:
            i, state, told = carry
            batch = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), batches)
            state, metrics = step(state, batch, hyper)
            if mesh is not None:
                state = jax.lax.with_sharding_constraint(state, layout(state, mesh))
            return i + 1, state, jax.tree.map(lambda all_, x: all_.at[i].set(x), told, metrics)

        begun = jnp.minimum(count, 0).astype(jnp.int32)
        attempted, state, told = jax.lax.while_loop(more, once, (begun, state, told))
        return state, told, attempted

    return jax.jit(dispatch, donate_argnums=0)


def steps_per_dispatch(training: Training, params: Params, tokens: int) -> int:
    """How many steps to hand over at once, from the plan and the network's size alone.

    A dispatch of about 2e10 floating-point operations takes a fraction of a second on two CPU cores: long
    beside the cost of a dispatch, short beside the patience of someone who wants to stop the run.

    Args:
        training: the plan.
        params: the parameters.
        tokens: tokens a batch holds.
    """
    if training.steps_per_dispatch:
        return training.steps_per_dispatch
    work = 6 * tokens * sum(leaf.size for leaf in jax.tree.leaves(params))
    return int(min(max(2e10 // max(work, 1), 1), 32, training.steps))
