"""The contract of loggers."""

import abc
import importlib.util
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from attnkit.errors import ConfigError

#: writes the numbers of one step, by name
Write = Callable[[int, Mapping[str, float]], None]


class Logger(abc.ABC):
    """A program that gets every number of `metrics.jsonl`, called `train/loss` or, of a split, `valid/loss`.

    Attributes:
        package: module that it needs; empty for none.
        extra: extra of attnkit that installs it.
    """

    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""

    def check(self) -> None:
        """Raise `ConfigError` if its package is not installed."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"training.loggers: {type(self).__name__.lower()} needs the package {self.package}; "
                f'pip install "attnkit[{self.extra}]"'
            )

    @abc.abstractmethod
    def open(self, folder: Path, step: int) -> AbstractContextManager[Write]:
        """A function that writes numbers, until the context ends.

        Args:
            folder: the run's folder.
            step: the step that the run goes on from; what was logged of later ones is void.
        """
