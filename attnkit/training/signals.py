"""Graceful shutdown: SIGTERM and Ctrl-C become a request that the loop checks between dispatches."""

import logging
import os
import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any

from attnkit.errors import Preempted

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Preempted):
    """Ctrl-C asked the run to stop, and it did so after saving."""

    exit_code = 130


class Interruption:
    """Context in which the first SIGTERM or Ctrl-C is noted, and a second one ends the process at once.

    A thread notices the signals, because Python runs handlers only when the main thread next executes
    bytecode, and a compilation can keep it away for long. Earlier handlers return on leaving. Outside the
    main thread Python allows no handlers: then a warning is logged and nothing is noted.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._number = 0
        self._earlier: dict[int, Any] = {}
        self._ours: tuple[socket.socket, socket.socket] | None = None
        self._wakeup = -1

    @property
    def asked(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self._asked.is_set()

    def error(self, message: str) -> Preempted:
        """The error that says so: `Preempted` after SIGTERM, `Interrupted` after Ctrl-C."""
        name = signal.Signals(self._number).name
        return (Interrupted if self._number == signal.SIGINT else Preempted)(f"{name}: {message}")

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            log.warning(
                "not in the main thread: SIGTERM and Ctrl-C will not save a checkpoint before stopping"
            )
            return self
        reading, writing = self._ours = socket.socketpair()
        writing.setblocking(False)
        for number in SIGNALS:
            self._earlier[number] = signal.signal(number, _leave_it_to_the_thread)
        self._wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reading,), daemon=True, name="signals").start()
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
        self._ours[1].close()

    def _watch(self, reading: socket.socket) -> None:
        with reading:
            while received := reading.recv(16):
                for number in received:
                    if number not in SIGNALS:
                        continue
                    if self._asked.is_set():
                        os._exit(128 + number)
                    self._number = number
                    self._asked.set()


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    pass
