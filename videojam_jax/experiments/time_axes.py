"""The times from noise to data, counted in the sampler's steps and on a line of `t`.

The paper's figures 3 and 8 count in steps. Which `t` a step is depends on the schedule: of the
paper's 100 steps, number 60 begins at t = 0.096 (see `diffusion.schedule`), while t = 0.6 comes
at step 88. So there are two axes, and the first 60 % of one is another stretch than that of the
other.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from videojam_jax.config import sampling
from videojam_jax.experiments import report_parts
from videojam_jax.experiments.setting import Setting

# Where the paper sees its base blind: the first 60 of 100 steps.
EARLY = 0.6


@dataclasses.dataclass(frozen=True)
class Axis:
    """One way to count the times.

    Attributes:
      title, label: of a figure, and beside the axis.
      text: a sentence on how it counts.
      x: where its times lie on it.
      chosen: which of all times they are.
      early: which of them are of the first `EARLY` of the axis.
      first, rest: words for these, and for the others.
    """

    title: str
    label: str
    text: str
    x: Float[np.ndarray, " n"]
    chosen: Int[np.ndarray, " n"]
    early: Bool[np.ndarray, " n"]
    first: str
    rest: str


def time_axes(setting: Setting) -> tuple[Float[np.ndarray, " times"], tuple[Axis, Axis]]:
    """All times at which a loss is measured, increasing, and the two axes they are of.

    The steps are VideoJAM's sampler's, for all models. They are half of the times,
    `experiment.times`, or all steps where these are fewer; the others lie on the line. Both are
    spread evenly, each time in the middle of its part of the axis.
    """
    config = setting.run_config("videojam", setting.config.seeds[0])
    count, of_steps = setting.config.experiment.times, config.sample.steps
    steps = _middles(min(count // 2, of_steps), of_steps).astype(int)
    line = _middles(count - len(steps), 1.0)
    every = np.concatenate([sampling.times(config)[steps], line])
    # The rounding makes one of two times that are the same but for the last bits.
    times, chosen = np.unique(every.round(9), return_inverse=True)
    ends = sampling.first_steps(config, EARLY)
    first = f"the first {report_parts.first_steps(config, ends)}"
    return times, (
        Axis("over the sampler's steps", "step of the sampler (0 noise)",
             report_parts.STEPS, steps.astype(float), chosen[: len(steps)], steps < ends,
             first, f"the other {of_steps - ends}"),
        Axis("over t", "t (0 noise, 1 data)", "", line, chosen[len(steps) :], line < EARLY,
             f"t < {EARLY}", f"t >= {EARLY}"),
    )  # fmt: skip


def _middles(count: int, length: float) -> Float[np.ndarray, " count"]:
    """The middles of so many equal parts of `[0, length]`."""
    return (np.arange(count) + 0.5) * length / count
