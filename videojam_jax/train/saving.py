"""When a run in training saves, and what is told of it."""

import time

import jax
import orbax.checkpoint as ocp
from ml_collections import FrozenConfigDict

from videojam_jax.parallel import distributed
from videojam_jax.train import checkpoint
from videojam_jax.train.state import TrainState


class Saves:
    """The checkpoints of a run as it goes on; `options` is its `config.train`."""

    def __init__(self, manager: ocp.CheckpointManager, options: FrozenConfigDict):
        self._manager, self._options = manager, options
        self._last, self._asked = time.monotonic(), False
        self._writing: tuple[int, float, float] | None = None  # step, bytes, since

    def overdue(self) -> bool:
        """True once when the last checkpoint is `checkpoint_minutes` old.

        By the clock of process 0, which all of them then follow.
        """
        minutes = self._options.checkpoint_minutes
        if not minutes or self._asked or not distributed.leader():
            return False
        self._asked = time.monotonic() - self._last > 60 * minutes
        return self._asked

    def wanted(self, step: int) -> bool:
        """Whether `step` is one of those that are saved whatever the clock says."""
        options = self._options
        every = options.checkpoint_every, options.keep_every, options.sample_every
        return (
            step == options.steps
            or step in options.keep_steps
            or any(n and step % n == 0 for n in every)
        )

    def begin(self, state: TrainState, architecture: dict, latent: dict | None) -> None:
        """Begins to write in the background; waits for the one before."""
        step = int(jax.device_get(state.step))
        checkpoint.save(self._manager, state, architecture, latent)
        self._last, self._asked = time.monotonic(), False
        self._writing = step, checkpoint.size(state), self._last

    def written(self) -> str | None:
        """A line, once, when what was begun is on disk."""
        if self._writing is None or self._manager.is_saving_in_progress():
            return None
        (step, size, since), self._writing = self._writing, None
        return f"saved step {step}: {told(size, time.monotonic() - since)}"

    def finish(self) -> None:
        """Waits until everything that was begun is on disk."""
        checkpoint.finish(self._manager)


def told(size: float, seconds: float) -> str:
    """`1.2 GB in 3.4 s`"""
    amount = f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
    return f"{amount} in {seconds:.1f} s"
