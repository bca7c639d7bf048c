"""What a run trains: all of it that the loop does not do alike for every model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import optax

from videojam_jax.train.run_log import RunLog
from videojam_jax.train.state import TrainState


@runtime_checkable
class Task(Protocol):
    """A model in training.

    Attributes:
      title: what it is, "VideoJAM".
      clips: how many it is trained on.
      architecture: what fixes the shapes of its parameters; kept with each checkpoint.
      init: `init(key) -> params`, boxed with logical axis names.
      optimizer: of these parameters.
    """

    title: str
    clips: int
    architecture: dict
    init: Callable[[Any], Any]
    optimizer: optax.GradientTransformation

    def jitted_step(self) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
        """`step(state, batch) -> (state, metrics)`."""
        ...

    def batches(self, step: int) -> Iterator[dict]:
        """This process's rows of the batches that follow step `step`."""
        ...

    def skipped(self) -> int:
        """How many clips could not be read and were passed over so far, in this process."""
        ...

    def rate(self, steps_per_second: float) -> dict[str, float]:
        """What the speed is told as."""
        ...

    def floors(self) -> dict[str, float]:
        """What its losses have to get below, by names that are logged beside them, as
        `appearance_floor`; the same in every process. Empty where no such thing is known.
        """
        ...

    def from_run(self, other: Path, abstract: TrainState) -> tuple[Any, int, str]:
        """Parameters to start from, of another run's checkpoint, their step, and how."""
        ...

    def show(self, state: TrainState, step: int, log: RunLog | None) -> None:
        """Writes samples; not called where `config.train.sample_every` is 0."""
        ...

    def latent(self, params: Any) -> dict | None:
        """What is measured of the averaged parameters and kept with each checkpoint, as JSON
        holds it; None where nothing is.
        """
        ...
