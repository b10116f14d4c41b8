"""Progress of a run, and its outcome."""

import dataclasses
from collections.abc import Callable

from flax import nnx

from attnkit.training.evaluation import Evaluation


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of a run, reported after every dispatch and, with its result, after every evaluation.

    Attributes:
        step: updates made.
        steps: updates to make.
        loss: training loss of the newest step in nats a token; NaN before the first.
        learning_rate: rate of the newest update.
        tokens_per_second: training speed, evaluation and saving left out.
        seconds: since `fit` was called.
        skipped: steps left out because something was not finite.
        evaluation: the result, if this is told after an evaluation.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    seconds: float
    skipped: int
    evaluation: Evaluation | None = None


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Outcome of a run.

    Attributes:
        network: the network with the parameters after the last step.
        step: updates made, those of interrupted runs before included.
        resumed_from: the step this run went on from; 0 for a new run.
        evaluation: of the last step; `None` if an earlier run made it, or there is no held-out split.
        best_step: step of the best checkpoint, `None` without evaluations.
        best_loss: its held-out loss in nats a token.
        skipped: steps left out because something was not finite.
        seconds: duration of `fit`.
    """

    network: nnx.Module
    step: int
    resumed_from: int
    evaluation: Evaluation | None
    best_step: int | None
    best_loss: float | None
    skipped: int
    seconds: float


Report = Callable[[Progress], None]
