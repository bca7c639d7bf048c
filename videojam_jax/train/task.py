"""What a run trains: all of it that the loop does not do alike for every model."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optax

from videojam_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Task:
    """A model in training.

    Attributes:
      title: what it is, "VideoJAM".
      clips: how many it is trained on.
      architecture: what fixes the shapes of its parameters; kept with each checkpoint.
      init: `init(key) -> params`, boxed with logical axis names.
      optimizer: of these parameters.
      compiled: `compiled() -> step`, with `step(state, batch) -> (state, metrics)`.
      batches: `batches(step)`: this process's rows of the batches that follow step `step`.
      rate: `rate(steps_per_second) -> {...}`, what the speed is told as.
      from_run: `from_run(workdir, abstract) -> (params, step, how)`: parameters to start
        from, of another run's checkpoint.
      show: `show(state, step, log)` writes samples; None where none are wanted.
      latent: `latent(params)`: what is measured of the averaged parameters and kept with
        each checkpoint, as JSON holds it; None where nothing is.
    """

    title: str
    clips: int
    architecture: dict
    init: Callable[[Any], Any]
    optimizer: optax.GradientTransformation
    compiled: Callable[[], Callable[[TrainState, dict], tuple[TrainState, dict]]]
    batches: Callable[[int], Iterator[dict]]
    rate: Callable[[float], dict[str, float]]
    from_run: Callable[[Path, TrainState], tuple[Any, int, str]]
    show: Callable | None = None
    latent: Callable[[Any], dict] | None = None
