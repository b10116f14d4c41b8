"""A cell of a sweep: one run, told from the others by its choices and its seed."""

import dataclasses
from collections.abc import Mapping

from attnkit.experiment.config import Config


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        config: its resolved config.
        labels: its choice of every axis but the seed.
        seed: its seed.
    """

    config: Config
    labels: Mapping[str, str]
    seed: int

    @property
    def hash(self) -> str:
        """The name of the cell and of its run folder."""
        return self.config.hash()

    @property
    def title(self) -> str:
        """Its labels and its seed, for people."""
        return ", ".join([*self.labels.values(), f"seed {self.seed}"])
