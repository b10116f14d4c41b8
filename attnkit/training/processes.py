"""Several processes that train one run: how they meet, agree and part.

Process 0 writes the run folder. What all must decide alike (to stop, which folder) is told to all.
"""

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnkit import errors
from attnkit.errors import AttnkitError, ConfigError, DataError, PeerLost
from attnkit.jax_api import find_cluster

log = logging.getLogger(__name__)

#: variables of which any says that a launcher may have started several processes
LAUNCHED = ("SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX", "TPU_WORKER_HOSTNAMES")
ADDRESS, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
#: seconds after which a process that gives no sign counts as lost, and that finding a cluster may take
SILENCE = 30
#: seconds that the first process may measure and report after training
LONGEST = 7 * 24 * 3600
ROOM = 4096


def is_first() -> bool:
    """Whether this process writes the run folder."""
    return jax.process_index() == 0


@contextlib.contextmanager
def joined(asked: int = 0, patience: float = 25.0) -> Iterator[None]:
    """Context in which this process is one of all that train a run, if it was started as one of several.

    JAX finds clusters (Slurm, Open MPI, Kubernetes, TPU) by itself; elsewhere `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` say which process this is. On leaving, they part together.

    Args:
        asked: how many processes there must be; 0 for as many as there are, 1 for this one alone.
        patience: seconds to wait until all are there.

    Raises:
        ConfigError: another number of processes was started than `asked`.
        PeerLost: some did not come within `patience` seconds.
    """
    if asked < 0:
        raise ConfigError(f"--processes {asked}: expected at least 1")
    address, count, number, own = (None, 1, 0, None) if asked == 1 else found()
    if asked and count != asked:
        raise ConfigError(
            f"--processes {asked}: {count} {'was' if count == 1 else 'were'} started; start each with "
            f"{ADDRESS}=HOST:PORT, {COUNT}={asked} and {NUMBER}=0 to {asked - 1}, or with srun or mpirun"
        )
    if count == 1 or address is None:
        yield
        return
    meet(address, count, number, patience)
    # Its handler of SIGTERM would keep the signal from ours.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        address,
        count,
        number,
        local_device_ids=own,
        heartbeat_timeout_seconds=SILENCE,
        # The others wait here while the first measures.
        shutdown_timeout_seconds=LONGEST,
    )
    try:
        yield
    except AttnkitError as error:
        if error.together:
            jax.distributed.shutdown()
        raise
    jax.distributed.shutdown()


def found() -> tuple[str | None, int, int, Any]:
    """(address of process 0, number of processes, number of this one, its devices), as it was started."""
    if ADDRESS in os.environ and COUNT in os.environ:
        given = {name: os.environ.get(name, "") for name in (COUNT, NUMBER)}
        for name, value in given.items():
            if not value.isdecimal():
                raise ConfigError(f"{name}={value}: expected a number; the launcher must set it")
        count, number = map(int, given.values())
        if not (0 <= number < count) or not os.environ[ADDRESS].rpartition(":")[2].isdecimal():
            raise ConfigError(
                f"{ADDRESS}={os.environ[ADDRESS]}, {COUNT}={count}, {NUMBER}={number}: expected HOST:PORT "
                "and a number of this process below the number of all"
            )
        return os.environ[ADDRESS], count, number, None
    if any(name in os.environ for name in LAUNCHED):
        return find_cluster(SILENCE)
    return None, 1, 0, None


def meet(address: str, count: int, number: int, patience: float) -> None:
    """Wait until all processes are there, since JAX ends the process without a word if one is not.

    Process 0 listens at `address`, all others tell it their numbers, and it tells them who is missing.

    Raises:
        PeerLost: naming the processes that did not come within `patience` seconds.
        ConfigError: if nothing can listen at `address`.
    """
    host, _, port = address.rpartition(":")
    end = time.monotonic() + patience
    missing = (
        _gather(int(port), count, end) if number == 0 else _report(host.strip("[]"), int(port), number, end)
    )
    if missing:
        one = len(missing) == 1
        raise PeerLost(
            f"{'process' if one else 'processes'} {', '.join(map(str, missing))} of {count} did not come to "
            f"{address} within {patience:g} seconds; look at {'its' if one else 'their'} output, and whether "
            "all processes can reach that address"
        )


def _gather(port: int, count: int, end: float) -> list[int]:
    """The numbers of the processes that did not come, after telling them to those that did."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(
                socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
            )
        except OSError as error:
            raise ConfigError(f"{ADDRESS}: port {port}: {error.strerror}; take another port") from None
        came: dict[int, socket.socket] = {}
        while len(came) < count - 1 and (left := end - time.monotonic()) > 0:
            server.settimeout(left)
            with contextlib.suppress(OSError, ValueError):
                peer = stack.enter_context(server.accept()[0])
                peer.settimeout(1.0)
                came[int(peer.recv(16).decode())] = peer
        missing = sorted(set(range(1, count)) - came.keys())
        for peer in came.values():
            with contextlib.suppress(OSError):
                peer.sendall(json.dumps(missing).encode() + b"\n")
                # The one that closes first keeps the port busy for a while: not this one.
                peer.recv(1)
        return missing


def _report(host: str, port: int, number: int, end: float) -> list[int]:
    """The numbers of the processes that did not come, as process 0 says; 0 if it is not there."""
    while time.monotonic() < end:
        try:
            with socket.create_connection((host, port), timeout=1.0) as peer:
                peer.sendall(str(number).encode())
                # Process 0 waits for the others as long as this one would.
                peer.settimeout(max(end - time.monotonic(), 0.0) + 5.0)
                with peer.makefile() as answer:
                    missing: list[int] = json.loads(answer.readline())
                return missing
        except (OSError, ValueError):
            time.sleep(0.2)
    return [0]


def agreed_count(count: int, asked: bool, failed: bool, mesh: Mesh) -> Any:
    """The `count` of a dispatch that makes no step if any process was `asked` to stop, or has `failed`.

    Every device is told the number of its own process, and the least of them holds: what stops one process
    stops all before the same step, and the number of steps attempted says so to each. It is 0 if one was
    asked, and -1 - n if process n has failed.
    """
    if jax.process_count() == 1:
        return np.int32(count)
    number = -1 - jax.process_index() if failed else 0 if asked else count
    own = np.full(mesh.size, number, np.int32)
    return jax.make_array_from_callback(
        own.shape, NamedSharding(mesh, PartitionSpec(mesh.axis_names)), lambda index: own[index]
    )


def none_failed(error: Exception | None) -> None:
    """Raise an error in all processes if there is one in any. All call it together.

    Raises:
        DataError: the `error`, or that another process has one.
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        failed = multihost_utils.process_allgather(np.int32(error is not None))
        if np.any(failed):
            raise stopped_by(error, int(np.argmax(failed)))
    elif error is not None:
        raise error


def stopped_by(error: Exception | None, number: int) -> AttnkitError:
    """The error that a process ends with when process `number`, perhaps itself, has met one in the data."""
    if error is None:
        said: AttnkitError = DataError(f"process {number}: an error in its data; look at its output")
    elif isinstance(error, AttnkitError):
        said = error
    else:
        log.error("in the code of the data set", exc_info=error)
        said = DataError(f"in the code of the data set: {type(error).__name__}: {error}")
    said.together = True
    return said


def shared(function: Callable[[], str]) -> str:
    """The text that `function` gives in process 0, for all processes; its error is raised in all.

    Raises:
        AttnkitError: as `function` does.
    """
    if jax.process_count() == 1:
        return function()
    from jax.experimental import multihost_utils

    raised: AttnkitError | None = None
    said = ["", ""]
    if is_first():
        try:
            said[1] = function()
        except AttnkitError as error:
            known = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
            raised, said = error, [known.__name__, str(error)[: ROOM // 8]]
    letters = json.dumps(said).encode().ljust(ROOM)
    told = multihost_utils.broadcast_one_to_all(np.frombuffer(letters, np.uint8))
    if raised is not None:
        raise raised
    kind, text = json.loads(np.asarray(told).tobytes())
    if kind:
        raise getattr(errors, kind)(f"process 0: {text}")
    return str(text)
