"""Training batches, stacked for a dispatch and made on a thread while the device computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import numpy as np

from attnkit.errors import DataError
from attnkit.tasks.contract import Batch, Dataset

PATIENCE = 0.2


class Stopped(Exception):
    """Batches were not waited for, because the run is to stop."""


class Batches:
    """The batches of a run, or those `rows` of each, `capacity` of them stacked, made one request ahead.

    An error in the data set's code is raised by `take`, with the traceback of where it happened.
    """

    def __init__(
        self, dataset: Dataset, seed: int, size: int, capacity: int, rows: slice = slice(None)
    ) -> None:
        self.dataset, self.seed, self.size, self.capacity = dataset, seed, size, capacity
        self.rows = rows
        self._shapes: dict[str, tuple[tuple[int, ...], Any]] = {}
        self._ahead: dict[tuple[int, int], Future[Batch]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def request(self, step: int, count: int) -> None:
        """Begin to make the batches `step`, `step + 1`, ... of a later `take`."""
        self._ahead[step, count] = self._thread.submit(self._stack, step, count)

    def take(self, step: int, count: int, stop: Callable[[], bool] = lambda: False) -> Batch:
        """Arrays with a leading axis of `capacity`: `count` batches from number `step` on, then zeros.

        Raises:
            Stopped: `stop()` became true before they were ready: the data set's code may hang.
        """
        if (step, count) not in self._ahead:
            self.request(step, count)
        ready = self._ahead.pop((step, count))
        self._ahead.clear()
        while not wait([ready], PATIENCE).done:
            if stop():
                raise Stopped
        return ready.result()

    def one(self, step: int) -> Batch:
        """The rows of batch number `step` alone."""
        batch = self.dataset.batch_rows(self.seed, step, self.size, self.rows)
        check_ids(batch, self.dataset, f"training batch {step}", self.rows.start or 0)
        shapes = {name: (np.shape(array), array.dtype) for name, array in batch.items()}
        if self._shapes and shapes != self._shapes:
            now, before = ({name: shape for name, (shape, _) in of.items()} for of in (shapes, self._shapes))
            raise DataError(
                f"training batch {step}: has shapes {now}, earlier batches {before}; "
                "every batch must have the same"
            )
        self._shapes = shapes
        return batch

    def blank(self) -> Batch:
        """Zeros instead of what `take` gives, once it has given some."""
        return {name: np.zeros((self.capacity, *shape), kind) for name, (shape, kind) in self._shapes.items()}

    def _stack(self, step: int, count: int) -> Batch:
        stacked: Batch = {}
        for i in range(count):
            for name, array in self.one(step + i).items():
                if name not in stacked:
                    stacked[name] = np.zeros((self.capacity, *array.shape), array.dtype)
                stacked[name][i] = array
        return stacked


def check_ids(batch: Batch, dataset: Dataset, where: str, first: int = 0) -> None:
    """Raise `DataError` for a token id outside its vocabulary, which a device would clamp, or weights < 0.

    `first` is the number of the first row of `batch` in the whole batch.
    """
    if (weights := batch["weights"]).size and weights.min() < 0:
        raise DataError(
            f"{where}: weights: has {weights.min()}, but a weight is at least 0; mend the data set"
        )
    for name in ("inputs", "labels", "source"):
        if name not in batch:
            continue
        vocabulary = dataset.source_vocabulary if name == "source" else dataset.vocabulary
        size, ids = len(vocabulary or ()), batch[name]
        if ids.size and not (ids.min() >= 0 and ids.max() < size):
            wrong = tuple(int(i) for i in np.argwhere((ids < 0) | (ids >= size))[0])
            raise DataError(
                f"{where}: {name}{[first + wrong[0], *wrong[1:]]} = {ids[wrong]}: token ids lie in "
                f"0..{size - 1}; mend the data set"
            )
