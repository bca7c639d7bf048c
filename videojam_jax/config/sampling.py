"""The section `config.sample`: schedule, solver and guidance."""

import dataclasses

import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax.diffusion import schedule
from videojam_jax.diffusion.guidance import RULES
from videojam_jax.diffusion.sampler import SOLVERS
from videojam_jax.diffusion.schedule import EMULATE
from videojam_jax.keys import config_key


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    """How clips are sampled. The guidance is the paper's."""

    schedule: str = config_key(
        "linear_quadratic",
        "of the times",
        choices=("linear", "linear_quadratic", "shifted"),
    )
    steps: int = config_key(100, "from noise to data", minimum=2)
    emulate: int = config_key(EMULATE, "linear steps that linear_quadratic emulates", minimum=2)
    shift: float = config_key(3.0, "of the shifted schedule", minimum=1e-6)
    solver: str = config_key("euler", "of the ODE", choices=tuple(SOLVERS))
    guidance: str = config_key(
        "videojam",
        "a row of the ablation table, see `diffusion.guidance.RULES`",
        choices=tuple(RULES),
    )
    w_text: float = config_key(5.0, "the paper's w1")
    w_motion: float = config_key(3.0, "the paper's w2")
    inner_share: float = config_key(
        0.5,
        "share of the steps, the first ones, with the motion's guidance; then text alone; rounded "
        "to whole steps",
        minimum=0.0,
        maximum=1.0,
    )
    batch_size: int = config_key(8, "clips sampled at once", minimum=1)
    ema: bool = config_key(True, "sample from the averaged parameters")
    enlarge: int = config_key(1, "pixels shown for one of the clip (small clips)", minimum=1)


def times(config: FrozenConfigDict) -> np.ndarray:
    """The sampler's times, `[steps + 1]` from 0 to 1."""
    section = config.sample
    if section.schedule == "linear":
        return schedule.linear(section.steps)
    if section.schedule == "shifted":
        return schedule.shifted(section.steps, section.shift)
    return schedule.linear_quadratic(section.steps, section.emulate)


def first_steps(config: FrozenConfigDict, share: float) -> int:
    """How many steps the first `share` of the sampler's are; half a step goes to the even number.

    Step i begins at `times(config)[i]`: the first n are steps 0 to n - 1, and end where step n
    begins.
    """
    return round(share * config.sample.steps)


def inner_steps(config: FrozenConfigDict) -> int:
    """How many of the first sampling steps have the motion's guidance."""
    return first_steps(config, config.sample.inner_share)
