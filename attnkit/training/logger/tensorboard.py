"""TensorBoard."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from attnkit.option_class import options
from attnkit.training.logger.contract import Logger, Write


@options
class Tensorboard(Logger):
    """Event files in `tensorboard/` of the run's folder: `tensorboard --logdir runs` shows all runs."""

    package: ClassVar[str] = "tensorboardX"
    extra: ClassVar[str] = "tensorboard"

    @contextlib.contextmanager
    def open(self, folder: Path, step: int) -> Iterator[Write]:
        from tensorboardX import SummaryWriter

        purge = {"purge_step": step + 1} if step else {}
        with SummaryWriter(str(folder / "tensorboard"), **purge) as writer:

            def write(step: int, values: Mapping[str, float]) -> None:
                for name, value in values.items():
                    writer.add_scalar(name, value, step)

            yield write
