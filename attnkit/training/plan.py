"""The options of a training run: how long, how often, how carefully, and the optimizer's numbers."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from attnkit.option_class import options
from attnkit.training.logger.contract import Logger


@options
class Training:
    """How a network is trained. Every count of steps is a count of optimizer updates.

    Attributes:
        steps: updates to make.
        batch_size: examples an update sees.
        seed: seed of the initial parameters, of the data order and of dropout.
        evaluate_every: updates between two evaluations, each with a checkpoint; 0 means only after the last.
        evaluation_batch_size: examples evaluated at once.
        evaluation_batches: batches of the held-out split an evaluation reads; 0 means all of them.
        label_smoothing: probability mass spread evenly over the vocabulary (Szegedy et al. 2016).
        z_loss: factor of the square of the log of the softmax's denominator, which keeps logits from
            growing (Chowdhery et al. 2022, arXiv:2204.02311, section 5: 1e-4); for labels only.
        accumulate: slices a batch is cut into, one after the other, to save memory; 0 means whatever is
            fast. Must divide `batch_size`. A device that has a part of the batch cuts it into slices that are
            no larger. The gradient is that of the whole batch.
        fsdp: devices that share parameters and optimizer state, each with a part of every matrix, besides
            their part of the batch, and gathers a parameter where it is read (Rajbhandari et al. 2020,
            arXiv:1910.02054, ZeRO stage 3). Must divide `batch_size`. All devices that are left share the
            batch alone.
        sequence: devices that share the tokens of each example.
        tensor: devices that share the heads and the hidden units of each block (Shoeybi et al. 2019,
            arXiv:1909.08053). Must divide the numbers of heads, of key-value heads and of hidden units.
        precision: type that the network computes in. The parameters, the loss and the optimizer are float32.
        steps_per_dispatch: updates handed to the device at once; 0 means many for a small network.
        keep: newest checkpoints to keep; the best one is kept besides.
        nonfinite: what to do about a step whose loss or gradient is NaN or infinite. Neither policy
            applies its update; `stop` ends the run there, `skip` goes on with the next batch.
        spike_factor: an update whose loss or gradient norm is more than so many times its median over the
            last 64 updates is not made, once there were 16; such as 5. 0 switches this off.
        skip_limit: consecutive steps that `skip`, or `spike_factor`, may leave out before the run stops after
            all.
        log_every: steps between two lines of `metrics.jsonl`.
        loggers: programs that get a copy of these lines, such as `["tensorboard"]`.
    """

    steps: Annotated[int, Ge(1)] = 1000
    batch_size: Annotated[int, Ge(1)] = 32
    seed: Annotated[int, Ge(0), Lt(2**31)] = 0
    evaluate_every: Annotated[int, Ge(0)] = 0
    evaluation_batch_size: Annotated[int, Ge(1)] = 64
    evaluation_batches: Annotated[int, Ge(0)] = 0
    label_smoothing: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    z_loss: Annotated[float, Ge(0.0)] = 0.0
    accumulate: Annotated[int, Ge(0)] = 0
    fsdp: Annotated[int, Ge(1)] = 1
    sequence: Annotated[int, Ge(1)] = 1
    tensor: Annotated[int, Ge(1)] = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    steps_per_dispatch: Annotated[int, Ge(0), Le(1024)] = 0
    keep: Annotated[int, Ge(1)] = 1
    nonfinite: Literal["stop", "skip"] = "stop"
    spike_factor: Annotated[float, Ge(0.0)] = 0.0
    skip_limit: Annotated[int, Ge(0)] = 5
    log_every: Annotated[int, Ge(1)] = 1
    loggers: tuple[Logger, ...] = ()

    def __post_init__(self) -> None:
        if self.accumulate and self.batch_size % self.accumulate:
            raise ValueError(f"accumulate = {self.accumulate}: must divide batch_size = {self.batch_size}")
        if self.batch_size % self.fsdp:
            raise ValueError(f"fsdp = {self.fsdp}: must divide batch_size = {self.batch_size}")
        if 0 < self.spike_factor <= 1:
            raise ValueError(f"spike_factor = {self.spike_factor}: must be above 1, or 0 to switch it off")


@options
class Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) or Muon, warmed up linearly, then decayed.

    `decayed` and `multipliers` name parameters by kind (`weight`, `vector`, `readout`, `bias`, `gain`,
    `table`, `rate`, `other`) or by a pattern of paths such as `decoder/*/bias`; `attnkit show` lists both.
    The part that makes a parameter declares its kind; one of an own part that declares none is `other`.

    Attributes:
        rule: `adamw`, or `muon` (Jordan et al. 2024) for the kind `weight` and AdamW for all others.
        schedule: `cosine`, or `wsd` (warmup-stable-decay), which keeps the rate and lowers it linearly at the
            end.
        cooldown: share of the steps over which `wsd` lowers the rate.
        learning_rate: rate at the end of the warmup.
        warmup: steps over which the rate rises linearly from 0; the first step takes 1 / warmup of it.
        end_fraction: part of `learning_rate` left at the end of the decay.
        decay_steps: updates after which the rate stays at its end; 0 means `steps` of the training. This way
            a run that is resumed with more steps keeps its schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        momentum: decay of the momentum of Muon.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay of the parameters that are `decayed`.
        decayed: parameters that decay: by default weights alone, not biases, gains of norms, embeddings and
            other tables, nor logarithms of rates.
        multipliers: pairs of parameters and a factor on their learning rate, such as `[["table", 0.1]]`; 0
            freezes them. Where several mean a parameter, the product holds.
        clip: largest global norm of a gradient; 0 switches clipping off.
    """

    rule: Literal["adamw", "muon"] = "adamw"
    learning_rate: Annotated[float, Gt(0.0)] = 1e-3
    warmup: Annotated[int, Ge(0)] = 100
    schedule: Literal["cosine", "wsd"] = "cosine"
    cooldown: Annotated[float, Gt(0.0), Le(1.0)] = 0.2
    end_fraction: Annotated[float, Ge(0.0), Le(1.0)] = 0.1
    decay_steps: Annotated[int, Ge(0)] = 0
    b1: Annotated[float, Ge(0.0), Lt(1.0)] = 0.9
    b2: Annotated[float, Ge(0.0), Lt(1.0)] = 0.99
    momentum: Annotated[float, Ge(0.0), Lt(1.0)] = 0.95
    eps: Annotated[float, Gt(0.0)] = 1e-8
    weight_decay: Annotated[float, Ge(0.0)] = 0.1
    decayed: tuple[str, ...] = ("weight", "vector", "readout")
    multipliers: tuple[tuple[str, Annotated[float, Ge(0.0)]], ...] = ()
    clip: Annotated[float, Ge(0.0)] = 1.0
