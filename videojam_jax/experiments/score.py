"""One number for how well a clip moves, to compare rows by."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from videojam_jax.measure.measure import Measure
from videojam_jax.measure.physics import PHYSICS_MEASURES

# Of simulated clips, with captions of the simulator.
PHYSICAL = ("permanence", "size_constancy", "shape_constancy", "moves", "trajectory_error",
            "velocity_jumps")  # fmt: skip
# Of the flow of any other clip, weighted as VBench weighs its two dimensions of motion.
OF_FLOW = {"smoothness": 1.0, "dynamic_degree": 0.5}

SCORE = Measure(
    "motion score",
    "product of body permanence, size and shape constancy, bodies move, 1 - trajectory error and "
    "1 - velocity jumps; of clips that are not the simulator's, the mean of motion smoothness and "
    "half the dynamic degree",
    ideal=1.0,
    worst=0.0,
    unit="%",
)


def motion_score(
    values: Mapping[str, Float[np.ndarray, "seeds clips"]],
) -> Float[np.ndarray, "seeds clips"]:
    """The score of each clip, in [0, 1]; `SCORE` defines it.

    Each part is scaled from 0 at its worst to 1 at its ideal. They are multiplied, since a
    clip needs all of them: most parts are blind to most faults, and their mean would forgive
    any single one. Which of the two scores is meant is one decision for all clips: the
    physical one where it says something of any.
    """
    if "trajectory_error" in values and np.isfinite(values["trajectory_error"]).any():
        parts = []
        for name in PHYSICAL:
            measure = PHYSICS_MEASURES[name]
            parts.append((values[name] - measure.worst) / (measure.ideal - measure.worst))
        return np.prod(parts, axis=0)
    weights = OF_FLOW.values()
    return sum(w * values[name] for name, w in OF_FLOW.items()) / sum(weights)
