"""A config's objects, ready to train or to use: task, data, network and plans."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from flax import nnx

from attnkit.errors import AttnkitError, ConfigError
from attnkit.experiment import config, folder, machine
from attnkit.experiment.schema import Node
from attnkit.generation.plan import Decoding
from attnkit.models.contract import Network, Sizes
from attnkit.tasks.contract import Batch, Dataset
from attnkit.training.load import load
from attnkit.training.parameters import decayed, kinds, multipliers
from attnkit.training.plan import Optimizer, Training

BATCH_KEYS = (
    "inputs",
    "input_length",
    "features",
    "source",
    "source_features",
    "source_length",
    "source_segment",
)


@dataclasses.dataclass(frozen=True)
class Session:
    """The objects of a config.

    Attributes:
        config: the config itself.
        dataset: its task's data.
        network: its model's network: fresh, or with a run's best parameters.
        step: the step the parameters are from; 0 for fresh ones.
    """

    config: config.Config
    dataset: Dataset
    network: Network
    training: Training
    optimizer: Optimizer
    decoding: Decoding
    step: int = 0


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
    dataset = chosen.task.made.load() if dataset is None else dataset
    if not isinstance(dataset, Dataset):
        name = chosen.task.entry.name
        raise ConfigError(f"task {name}: load() gave a {type(dataset).__name__}, expected a Dataset")
    sizes = sizes_of(dataset)
    for option in ("label_smoothing", "z_loss"):
        if dataset.numbers and getattr(training, option):
            raise ConfigError(
                f"training.{option} = {getattr(training, option)}: the task predicts numbers, which have no "
                "labels; set it to 0"
            )
    check_sizes(chosen.model, sizes, training)
    network = fresh(model, sizes, training.seed, dataset, decoding.max_length)
    own = kinds(network)
    decayed(optimizer, own), multipliers(optimizer, own)  # refuse names of parameters that there are not
    return Session(loaded, dataset, network, training, optimizer, decoding)


def sizes_of(dataset: Dataset) -> Sizes:
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


def fresh(model: Any, sizes: Sizes, seed: int, dataset: Dataset, most: int = 0) -> Network:
    """A network with the initial parameters of `seed`, traced once to find parts that do not fit together.

    It is traced for the longest sequences of the held-out splits, with room for `most` written tokens.

    Raises:
        ConfigError: if the model, or a part of it, refuses, or does not answer what the task asks.
    """
    name, batch = type(model).__name__, widest(dataset.batch(seed, 0, 1), dataset, most)
    try:
        network: Network = model.build(sizes, nnx.Rngs(seed))
        program, logits = jax.make_jaxpr(lambda batch: network(batch).logits, return_shape=True)(batch)
    except AttnkitError:
        raise
    except (ValueError, TypeError) as error:
        message = " ".join(str(error).split("For simplicity, JAX")[0].strip(" -\n").split())
        raise ConfigError(f"model {name}: {message}") from error
    except KeyError as error:
        if error.args[0] not in BATCH_KEYS:
            raise
        raise ConfigError(
            f"model {name}: reads {error.args[0]!r}, but the task gives {', '.join(batch)}; choose another "
            "model for this task"
        ) from error
    asked = batch["weights"].shape[1]
    if logits.shape[1] != asked:
        raise ConfigError(
            f"model {name}: gives {logits.shape[1]} answers for an example, but the task asks for {asked}; "
            "choose another model for this task"
        )
    read = {id(variable) for equation in program.jaxpr.eqns for variable in equation.invars}
    given = zip(sorted(batch), program.jaxpr.invars, strict=True)
    if any(key in ("source", "source_features") and id(variable) not in read for key, variable in given):
        raise ConfigError(
            f"model {name}: does not read the source of this task; use one with an encoder, such as "
            "encoder_decoder or classifier"
        )
    return network


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


def reopen(run: Path, imports: bool = False) -> Session:
    """The objects of a run, its network with the parameters of the best checkpoint.

    Args:
        run: the run folder.
        imports: whether its config may run code outside the package.

    Raises:
        ConfigError: if `run` is not a run folder, or names code that it may not run.
        CheckpointError: if no checkpoint can be used.
    """
    session = start(config.load(folder.existing(run) / folder.CONFIG, imports=imports))
    return best(session, run)


def best(session: Session, run: Path) -> Session:
    """`session` with the network of the best checkpoint of `run`; `CheckpointError` if none is whole."""
    network, manifest = load(session.network, run, "best")
    return dataclasses.replace(session, network=cast(Network, network), step=manifest.step)
