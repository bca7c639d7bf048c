"""One run of many processes: how all start, speak, agree and end.

`launch.detect` says which process this is; `start` joins them. From there on they live and
die together:

- A process that is gone is noticed by the next collective where the network tells (on CPU
  at once), else HEARTBEAT_SECONDS after its last sign of life; then JAX ends the others
  with SIGABRT, saying which one was lost.
- What one process alone is told, `Agreement` makes known to all at one step.
"""

import collections
import contextlib
import itertools
import os
import re
import sys
import time

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from videojam_jax.errors import PeerLost, UserError, first_line
from videojam_jax.parallel.launch import Launch

# How long the processes wait for one another at the start: hosts come up one by one.
MEETING_SECONDS = 300
# Without a sign of life for so long, a process counts as lost and the others end.
HEARTBEAT_SECONDS = 60
# After an error of its own, process 0 stays this long: a check that fails in all
# processes is then told by each of them, and not as the loss of process 0.
LAST_WORDS_SECONDS = 3


# --- starting and ending together -----------------------------------------------------


def start(launch: Launch) -> None:
    """Joins the processes of a run; to be called before any array. Nothing for one process.

    Where not all come within MEETING_SECONDS, JAX ends this process with SIGABRT and says why.

    Raises:
      PeerLost: the coordinator's port could not be opened, or the connection was refused.
      UserError: the devices do not form a run of so many processes.
    """
    if launch.processes == 1:
        return
    # JAX's own notice of SIGTERM loses a signal that comes before the first step, and
    # would take the signal from those who handle it here.
    jax.config.update("jax_enable_preemption_service", False)
    known = {}
    if launch.coordinator is not None:
        known = {
            "coordinator_address": launch.coordinator,
            "num_processes": launch.processes,
            "process_id": launch.process,
            "cluster_detection_method": "deactivate",
        }
    take_device(launch)
    try:
        jax.distributed.initialize(
            **known,
            initialization_timeout=MEETING_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except RuntimeError as error:
        where = launch.coordinator or "the coordinator that JAX found"
        raise PeerLost(
            f"process {launch.process} of {launch.processes} could not meet the others at {where} "
            f"({first_line(error)})"
        ) from error
    if jax.process_count() != launch.processes:
        raise UserError(
            f"{launch.processes} processes were started ({launch.how}), but the devices "
            f"({jax.devices()[0].device_kind}) form a run of {jax.process_count()}"
        )


def take_device(launch: Launch) -> None:
    """Leaves the host's other accelerators to its other processes; before any array."""
    if launch.local_device is not None:
        jax.config.update("jax_cuda_visible_devices", str(launch.local_device))
        jax.config.update("jax_rocm_visible_devices", str(launch.local_device))


def joined() -> bool:
    """Whether this process is one of several that form a run."""
    return jax.distributed.is_initialized()


def leave() -> None:
    """The good end of a joined process: when all have come here."""
    barrier("the end")
    jax.distributed.shutdown()


def abandon(launch: Launch, status: int) -> None:
    """Ends a joined process that cannot go on, without waiting for anyone.

    An orderly exit would wait for the others, who wait for this process.
    """
    # Process 0 takes the meeting place with it.
    if launch.process == 0:
        time.sleep(LAST_WORDS_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def peer_lost(error: Exception) -> bool:
    """Whether a runtime error of a joined process says that another one is gone.

    Collectives fail with the words of their library; so does waiting at a barrier.
    """
    if not joined():
        return False
    text = str(error)
    codes = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED")
    return text.startswith(codes) or bool(re.search(r"\b(gloo|nccl|barrier)\b", text, re.I))


# --- words between processes ----------------------------------------------------------


def leader() -> bool:
    """Whether this is process 0, which alone writes config and metrics."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Returns when all processes have come here."""
    if jax.process_count() > 1:
        with jax.transfer_guard("allow"):
            multihost_utils.sync_global_devices(name)


def broadcast_text(text: str | None, source: int = 0) -> str:
    """The text of one process, in every process; the others may give None."""
    if jax.process_count() == 1:
        return text
    mine = jax.process_index() == source
    data = np.frombuffer((text or "").encode(), np.uint8)
    with jax.transfer_guard("allow"):
        size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data)), mine))
        data = data if mine else np.zeros(size, np.uint8)
        return multihost_utils.broadcast_one_to_all(data, mine).tobytes().decode()


def gather(array: np.ndarray | np.generic) -> np.ndarray:
    """`[processes, ...]`: every process's array, of one shape and dtype, in every process."""
    with jax.transfer_guard("allow"):
        return np.asarray(multihost_utils.process_allgather(np.asarray(array)))


class Agreement:
    """Whether any process says yes: asked once a step, answered LAG steps later, alike to all.

    The votes are a sum over the devices that is queued behind the step's own work. Reading
    it LAG steps later finds it done, while the devices have LAG more steps to work on;
    thus nothing waits, and no process runs further than that ahead of the devices.
    """

    LAG = 2

    def __init__(self, mesh: Mesh, questions: int = 1):
        spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        with jax.transfer_guard("allow"):
            self._votes = {
                votes: jax.make_array_from_callback(
                    (mesh.size, questions), spread, lambda _, votes=votes: np.array([votes])
                )
                for votes in itertools.product((False, True), repeat=questions)
            }
        self._any = jax.jit(
            lambda votes: votes.any(0), out_shardings=NamedSharding(mesh, PartitionSpec())
        )
        self._asked: collections.deque[jax.Array] = collections.deque()

    def any(self, *mine: bool) -> tuple[bool, ...]:
        """One answer a question, True LAG calls after the first yes.

        To be called by every process, at every step.
        """
        self._asked.append(self._any(self._votes[mine]))
        if len(self._asked) <= self.LAG:
            return (False,) * len(mine)
        return tuple(jax.device_get(self._asked.popleft()).tolist())
