"""Weights & Biases."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import MinLen

from attnkit.option_class import options
from attnkit.training.logger.contract import Logger, Write


@options
class Wandb(Logger):
    """A run of Weights & Biases, written to `wandb/` of the run's folder; `wandb sync` sends it.

    Attributes:
        project: the project that it belongs to.
        mode: `offline` needs no account and no network; `online` sends it while it runs.
    """

    package: ClassVar[str] = "wandb"
    extra: ClassVar[str] = "wandb"
    project: Annotated[str, MinLen(1)] = "attnkit"
    mode: Literal["offline", "online"] = "offline"

    @contextlib.contextmanager
    def open(self, folder: Path, step: int) -> Iterator[Write]:
        import wandb

        name = folder.resolve()
        run = wandb.init(
            project=self.project,
            dir=str(folder),
            mode=self.mode,
            name=name.name,
            id=hashlib.sha256(str(name).encode()).hexdigest()[:12],
            resume="allow",
            reinit="create_new",  # the members of a population are open at once
            settings=wandb.Settings(console="off", silent=True),
        )
        try:

            def write(step: int, values: Mapping[str, float]) -> None:
                run.log(dict(values), step=step)

            yield write
        finally:
            run.finish()
