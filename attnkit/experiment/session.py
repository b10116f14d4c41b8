"""A config's objects, ready to train or to use: task, data, network and plans."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from flax import nnx

from attnkit.errors import AttnkitError, ConfigError, DataError
from attnkit.experiment import config, folder, importing, machine, provenance
from attnkit.experiment.provenance import NOTHING, Allow
from attnkit.experiment.schema import Node
from attnkit.generation.plan import Decoding
from attnkit.models.contract import Network, Sizes
from attnkit.tasks.contract import Batch, Dataset, DatasetInfo
from attnkit.training.load import load
from attnkit.training.parameters import decayed, kinds, multipliers
from attnkit.training.plan import Optimizer, Training
from attnkit.training.sharding import check_tensor

BATCH_KEYS = (
    "inputs",
    "input_length",
    "features",
    "source",
    "source_features",
    "source_length",
    "source_segment",
)


@dataclasses.dataclass(frozen=True, repr=False)
class Session:
    """The objects of a config.

    Attributes:
        config: the config itself.
        dataset: its task's data; of a run that was opened to be used, the description without the data.
        network: its model's network: fresh, or with a run's best parameters.
        step: the step the parameters are from; 0 for fresh ones.
        changes: a line for everything that has changed since the run was trained.
        run: the run folder that it was opened from; `None` of a config.
    """

    config: config.Config
    dataset: DatasetInfo
    network: Network
    training: Training
    optimizer: Optimizer
    decoding: Decoding
    step: int = 0
    changes: tuple[str, ...] = ()
    run: Path | None = None

    def __repr__(self) -> str:
        return f"Session({self.name}, step={self.step})"

    @property
    def name(self) -> str:
        """The name of the run folder, or of the config."""
        return self.config.name if self.run is None else self.run.resolve().name

    @property
    def data(self) -> Dataset:
        """The data. Raises `ConfigError` in a run that was opened without it."""
        if isinstance(self.dataset, Dataset):
            return self.dataset
        raise ConfigError(f"{self.config.file.parent}: was opened without its data; use attnkit evaluate")


def start(loaded: config.Config, dataset: Dataset | None = None) -> Session:
    """The objects of a config, with a fresh network.

    Args:
        loaded: the config.
        dataset: its task's data, if that is loaded already.

    Raises:
        ConfigError: if options do not fit together.
        DataError: if the data is bad.
    """
    chosen = loaded.experiment
    model, training, optimizer, decoding = (
        node.made for node in (chosen.model, chosen.training, chosen.optimizer, chosen.decoding)
    )
    dataset = loaded_data(loaded) if dataset is None else dataset
    for option in ("label_smoothing", "z_loss"):
        if dataset.numbers and getattr(training, option):
            raise ConfigError(
                f"training.{option} = {getattr(training, option)}: the task predicts numbers, which have no "
                "labels; set it to 0"
            )
    check_sizes(chosen.model, sizes_of(dataset), training)
    network = fresh(model, sizes_of(dataset), training.seed, dataset, decoding.max_length)
    check_tensor(network, training.tensor)
    own = kinds(network)
    decayed(optimizer, own), multipliers(optimizer, own)  # refuse names of parameters that there are not
    return Session(loaded, dataset, network, training, optimizer, decoding)


def loaded_data(loaded: config.Config) -> Dataset:
    """The data of a config's task, which belongs to that task."""
    task = loaded.experiment.task.made
    with explained(f"task {type(task).__name__}"):
        dataset: Dataset = task.load()
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            f"task {type(task).__name__}: load() gave a {type(dataset).__name__}, expected a Dataset"
        )
    if "task" not in vars(dataset):
        dataset.task = task
    if type(dataset).encode is not DatasetInfo.encode:
        raise ConfigError(
            f"task {type(task).__name__}: {type(dataset).__name__}.encode reads text with the data at hand, "
            f"which a run folder lacks; write encode(self, text, info) in {type(task).__name__}"
        )
    return dataset


@contextlib.contextmanager
def explained(part: str, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Context in which an error of a user's own code, or one of the `expected` types, is a `ConfigError`."""
    try:
        yield
    except AttnkitError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        if place := importing.blame(error):
            raise ConfigError(f"{place} (in {part})") from error
        if not isinstance(error, expected):
            raise
        message = " ".join(str(error).split("For simplicity, JAX")[0].strip(" -\n").split())
        raise ConfigError(f"{part}: {message}") from error


def outline(loaded: config.Config) -> nnx.Module:
    """The network of a config with the shapes of its parameters alone: no device computes anything.

    Raises:
        ConfigError: if options do not fit together.
        DataError: if the data is bad.
    """
    model = loaded.experiment.model.made
    sizes = sizes_of(loaded_data(loaded))
    with explained(f"model {type(model).__name__}", (ValueError, TypeError)):
        made: nnx.Module = nnx.eval_shape(lambda: model.build(sizes, nnx.Rngs(0)))
    return made


def check_sizes(model: Node, sizes: Sizes, training: Training) -> None:
    """Raise `ConfigError` if the parameters, or the logits of a batch, cannot be in memory.

    Training keeps parameters, gradients and two moments; the logits of a slice are the least it computes.
    """
    if machine.is_large(model.table()):
        shapes = nnx.eval_shape(lambda: model.made.build(sizes, nnx.Rngs(0)))
        count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(shapes, nnx.Param)))
        machine.check_memory(
            f"model = {model.entry.kind!r}: {count:.4g} parameters, training needs memory",
            16 * count,
            "lower model.model_dim or another of its sizes",
        )
    rows = training.batch_size // max(training.accumulate, 1)
    machine.check_memory(
        f"training.batch_size = {training.batch_size}: the logits of a batch need memory",
        4 * rows * sizes.length * max(sizes.vocabulary, 1),
        "lower training.batch_size or raise training.accumulate",
    )


def sizes_of(dataset: DatasetInfo) -> Sizes:
    """The sizes that a model is built for."""
    source = dataset.source_vocabulary
    return Sizes(
        vocabulary=0 if dataset.numbers else len(dataset.vocabulary),
        length=dataset.length,
        source_vocabulary=len(source) if source else 0,
        source_length=dataset.source_length,
        features=dataset.features,
        source_features=dataset.source_features,
        segments=dataset.segments,
        grid=dataset.grid,
    )


def fresh(model: Any, sizes: Sizes, seed: int, dataset: Dataset, most: int = 0) -> Network:
    """A network with the initial parameters of `seed`, traced once to find parts that do not fit together.

    Raises:
        ConfigError: as `built` and `trace` do.
    """
    network = built(model, sizes, seed)
    trace(network, f"model {type(model).__name__}", seed, dataset, most)
    return network


def built(model: Any, sizes: Sizes, seed: int) -> Network:
    """A network with the initial parameters of `seed`. Raises `ConfigError` if the model refuses."""
    with explained(f"model {type(model).__name__}", (ValueError, TypeError)):
        network: Network = model.build(sizes, nnx.Rngs(seed))
    return network


def trace(network: Network, name: str, seed: int, dataset: Dataset, most: int = 0) -> None:
    """Trace a network for the longest sequences of the held-out splits, with room for `most` written tokens.

    Raises:
        ConfigError: if a part of it refuses, or does not answer what the task asks.
    """
    with explained("the data of the task"):
        batch = widest(dataset.batch(seed, 0, 1), dataset, most)
    with explained(name, (ValueError, TypeError)):
        try:
            program, logits = jax.make_jaxpr(lambda batch: network(batch).logits, return_shape=True)(batch)
        except KeyError as error:
            if error.args[0] not in BATCH_KEYS:
                raise
            raise ConfigError(
                f"{name}: reads {error.args[0]!r}, but the task gives {', '.join(batch)}; choose another "
                "model for this task"
            ) from error
    asked = batch["weights"].shape[1]
    if logits.shape[1] != asked:
        raise ConfigError(
            f"{name}: gives {logits.shape[1]} answers for an example, but the task asks for {asked}; "
            "choose another model for this task"
        )
    read = {id(variable) for equation in program.jaxpr.eqns for variable in equation.invars}
    given = zip(sorted(batch), program.jaxpr.invars, strict=True)
    if any(key in ("source", "source_features") and id(variable) not in read for key, variable in given):
        raise ConfigError(
            f"{name}: does not read the source of this task; use one with an encoder, such as "
            "encoder_decoder or classifier"
        )


def fresh_like(session: Session) -> Session:
    """The same with the network before training: a control."""
    sizes, model = sizes_of(session.dataset), session.config.experiment.model.made
    network = model.build(sizes, nnx.Rngs(session.training.seed))
    return dataclasses.replace(session, network=network, step=0)


def widest(batch: Batch, dataset: Dataset, most: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of `batch` with as many places as a split, or writing `most` tokens, can ask for."""
    width = dataset.length
    if width > 1 and not dataset.numbers and "inputs" in batch:
        some = [example for split in dataset.splits for example in dataset.examples(split, 1)]
        width = max([width, *(len(example.inputs) + most - 1 for example in some)])

    def shape(name: str, array: np.ndarray) -> tuple[int, ...]:
        if array.ndim == 1 or "input_length" in batch:
            return array.shape
        return (1, dataset.source_length if name.startswith("source") else width, *array.shape[2:])

    return {name: jax.ShapeDtypeStruct(shape(name, a), a.dtype) for name, a in batch.items()}


def reopen(run: Path, allow: Allow = NOTHING, overrides: Sequence[str] = ()) -> Session:
    """The objects of a run as `described`, its network with the best checkpoint's parameters.

    Raises:
        ConfigError: as `described` does.
        CheckpointError: if the folder is damaged, or no checkpoint can be used.
    """
    return best(described(run, allow, overrides), run)


def described(run: Path, allow: Allow = NOTHING, overrides: Sequence[str] = ()) -> Session:
    """The objects of a run as its folder describes them, its network fresh.

    The training data is not read.

    Args:
        run: the run folder.
        allow: what may be done with it.
        overrides: changes of its config that do not change the network.

    Raises:
        ConfigError: if `run` is not a run folder, names code that it may not run, or the code has changed.
        CheckpointError: if the folder is damaged.
    """
    file = folder.existing(run) / folder.CONFIG
    if not allow.imports:
        # Before anything else, as this is what a user of somebody's run is to know.
        config.load(file, overrides, imports=False, kept={})
    record = provenance.read(run)
    kept = provenance.changed_files(record) if allow.imports else {}
    changes = [*provenance.own_differences(record, kept)]
    provenance.refuse_code(changes, allow)
    loaded = config.load(file, overrides, allow.imports, kept)
    changes += provenance.package_differences(record)
    provenance.refuse_code(changes, allow)
    chosen = loaded.experiment
    known = provenance.info(record, chosen.task.made, run)
    training, optimizer, decoding = (
        node.made for node in (chosen.training, chosen.optimizer, chosen.decoding)
    )
    check_sizes(chosen.model, sizes_of(known), training)
    network = built(chosen.model.made, sizes_of(known), training.seed)
    return Session(loaded, known, network, training, optimizer, decoding, 0, tuple(changes), run)


def with_data(session: Session, allow: Allow) -> Session:
    """A reopened run with its data.

    Raises:
        DataError: if the data cannot be read, or is not what the run was trained on.
        ConfigError: if the network cannot read it.
    """
    known = session.dataset
    try:
        data = loaded_data(session.config)
    except DataError as error:
        raise DataError(f"{error} (for data that is elsewhere now, say where: task.path=FILE)") from None
    changes = provenance.data_differences(known, data, allow)
    data = provenance.in_ids_of(known, data)
    model = type(session.config.experiment.model.made).__name__
    trace(session.network, f"model {model}", session.training.seed, data, session.decoding.max_length)
    return dataclasses.replace(session, dataset=data, changes=(*session.changes, *changes))


def best(session: Session, run: Path) -> Session:
    """`session` with the network of the best checkpoint of `run`; `CheckpointError` if none is whole.

    Parameters of another floating type, as of a run with or without x64, are converted.
    """
    network, manifest = load(session.network, run, "best", allow_cast=True)
    return dataclasses.replace(session, network=cast(Network, network), step=manifest.step)
