"""SIGTERM and Ctrl-C: a request that a loop checks between dispatches, or the end of the process in order.

A thread notices the signals, because Python runs handlers only when the main thread next executes
bytecode: an import, a compilation or a read can keep it away for long, and an exception that a handler raises
is lost in a callback of the garbage collector. Only the standard library is imported, so that the signals are
watched before anything slow begins.
"""

import abc
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

from attnkit.errors import Preempted

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

Act = Callable[[], str | None]

#: What is done before a signal ends the process, innermost last. A process has one set of handlers, too.
_last_acts: list[Act] = []


class Interrupted(Preempted):
    """Ctrl-C asked the run to stop, and it did so after saving."""

    exit_code = 130


class Watch(abc.ABC):
    """Context in which a thread notices SIGTERM and Ctrl-C. Earlier handlers return on leaving.

    Outside the main thread Python allows no handlers: then nothing is noticed.
    """

    def __init__(self) -> None:
        self._earlier: dict[int, Any] = {}
        self._ours: tuple[socket.socket, threading.Thread] | None = None
        self._wakeup = -1

    @abc.abstractmethod
    def notice(self, number: int) -> None:
        """Called on the watching thread with the number of each signal."""

    def __enter__(self) -> "Watch":
        if threading.current_thread() is not threading.main_thread():
            return self
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        thread = threading.Thread(target=self._watch, args=(reading,), daemon=True, name="signals")
        thread.start()
        self._ours = writing, thread
        for number in SIGNALS:
            self._earlier[number] = signal.signal(number, _leave_it_to_the_thread)
        self._wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours is None:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._earlier.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        # Closing only the writing end lets the thread read what is left, see the end and finish.
        writing, thread = self._ours
        writing.close()
        thread.join()

    def _watch(self, reading: socket.socket) -> None:
        with reading:
            while received := reading.recv(16):
                for number in received:
                    if number in SIGNALS:
                        self.notice(number)


class Ending(Watch):
    """Watch of a whole command: a signal ends the process at once with 75 (SIGTERM) or 130 (Ctrl-C).

    Files are written so that the process may end at any instant; a part that has something to save watches
    the signals itself meanwhile, as `Interruption`.
    """

    current: "Ending | None" = None

    def __enter__(self) -> "Ending":
        Ending.current = self
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Ending.current = None
        super().__exit__(kind, error, trace)

    def notice(self, number: int) -> None:
        """Do the last acts, say one line and end the process."""
        said = [signal.Signals(number).name + ": stopped"]
        for act in reversed(_last_acts):
            with contextlib.suppress(Exception):
                said.append(act() or "")
        with contextlib.suppress(OSError):
            os.write(2, f"error: {'; '.join(filter(None, said))}\n".encode())
        os._exit((Interrupted if number == signal.SIGINT else Preempted).exit_code)


@contextlib.contextmanager
def last_act(act: Act) -> Iterator[None]:
    """Context in which a signal that ends the process does `act` first, and says what it returns.

    It runs on another thread while the main thread goes on: it must not wait for anything.
    """
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


class Interruption(Watch):
    """Context in which the first SIGTERM or Ctrl-C is noted, and a second one ends the process at once.

    While there is nothing to save, an `Ending` around it is not kept waiting. A signal that nobody answered
    with `error` is sent again on leaving, to the handlers that were there before.

    Attributes:
        unsaved: whether something would be lost if the process ended now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unsaved = False
        self._asked = threading.Event()
        self._answered = False
        self._number = 0

    @property
    def asked(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self._asked.is_set()

    def error(self, message: str) -> Preempted:
        """The error that says so: `Preempted` after SIGTERM, `Interrupted` after Ctrl-C.

        Without a signal it is another process of the run that was asked to stop.
        """
        self._answered = True
        if not self._number:
            return Preempted(f"another process was stopped: {message}")
        name = signal.Signals(self._number).name
        return (Interrupted if self._number == signal.SIGINT else Preempted)(f"{name}: {message}")

    def disregard(self) -> None:
        """Let a signal that was noted have no effect."""
        self._answered = True

    def __enter__(self) -> "Interruption":
        super().__enter__()
        if self._ours is None:
            log.warning(
                "not in the main thread: SIGTERM and Ctrl-C will not save a checkpoint before stopping"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self.asked and not self._answered and kind is None:
            if Ending.current is not None:
                Ending.current.notice(self._number)
            signal.raise_signal(self._number)

    def notice(self, number: int) -> None:
        """Note the first signal; end the process at the second, or at once if nothing would be lost."""
        if self._asked.is_set():
            os._exit(128 + number)
        self._number = number
        self._asked.set()
        if Ending.current is not None and not self.unsaved:
            Ending.current.notice(number)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    pass
